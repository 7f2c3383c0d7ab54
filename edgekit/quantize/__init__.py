"""An fp32 bundle to a quantised one: int8 by tensor, channel or row, 4 and 8 bits in blocks.

Reading order: `scheme` (what becomes of which matrix), `int8` and `blockwise` (the arithmetic), `weights` (a model's
weights as a scheme wants them), `bundle` (a bundle from a bundle), `imported` (one whose graphs optimum made);
`calibrate`, `calibration` and `migration` for schemes that look at activations; `recover`, `offsets` and `compact` for
blocks of 4 bits.
"""

from importlib.util import find_spec

from edgekit.errors import MissingExtraError

if find_spec("onnx_ir") is None:
    raise MissingExtraError('quantising needs onnx_ir; pip install "edgekit[export]" brings it')
