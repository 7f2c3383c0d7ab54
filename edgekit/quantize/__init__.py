"""int8: the arithmetic (`int8`), a model's weights (`weights`), and a bundle from a bundle (`bundle`)."""

from importlib.util import find_spec

from edgekit.errors import MissingExtraError

if find_spec("onnx_ir") is None:
    raise MissingExtraError('quantising needs onnx_ir; pip install "edgekit[export]" brings it')
