"""What the whole project promises: imports go one way, nothing heavy is imported early, every file is packaged."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from edgekit.cli.main import COMMANDS, EXTRA_OF_MODULE

ROOT = Path(__file__).parent.parent
SOURCES = [path for folder in ("edgekit", "models") for path in sorted((ROOT / folder).rglob("*.py"))]

# Third-party modules that each part may import, at any depth of its code; a part that is not here may import none.
THIRD_PARTY = {
    "graph": {"numpy", "onnx_ir", "safetensors"},
    "quantize": {"numpy", "onnx_ir", "onnxruntime"},
    "export": {
        "filelock",
        "gguf",
        "google",
        "huggingface_hub",
        "numpy",
        "onnx_ir",
        "onnxruntime",
        "optimum",
        "safetensors",
        "sentencepiece",
        "tokenizers",
        "yaml",
    },
    "gate": {"numpy", "onnx_ir", "onnxruntime"},
    "runtime": {"jinja2", "numpy", "onnxruntime", "tokenizers"},
    "quality": {"numpy", "sacrebleu"},
    "bench": {"cpuinfo", "numpy", "psutil", "rich"},
    "report": {"jinja2", "rich"},
    "cli": {"click", "rich", "safetensors"},
    "serve": {"h11", "prometheus_client", "starlette", "uvicorn"},
    "training": {"numpy", "sacrebleu", "safetensors", "sentencepiece", "tokenizers", "torch", "transformers"},
}


def setup_cfg():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def lines(text):
    return [line.strip() for line in text.strip().splitlines() if line.strip()]


def canonical(requirement):
    """``huggingface_hub>=0.34`` -> ``huggingface-hub``."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module


def in_a_new_process(code, **env):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, env=os.environ | env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_go_one_way():
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_part_imports_only_its_own_third_party_modules(path):
    part = path.relative_to(ROOT).parts[1].removesuffix(".py")
    roots = {name.partition(".")[0] for name in imported_modules(path)}
    assert roots - set(sys.stdlib_module_names) - {"edgekit", "models"} <= THIRD_PARTY.get(part, set())


@pytest.mark.parametrize(
    ("module", "missing", "message"),
    [
        ("edgekit.quantize.bundle", "onnx_ir", 'quantising needs onnx_ir; pip install "edgekit[export]" brings it'),
        ("edgekit.quality.metrics", "sacrebleu", 'scores need sacrebleu; pip install "edgekit[bench]" brings it'),
    ],
)
def test_an_import_without_its_extra_names_it(module, missing, message):
    found = in_a_new_process(
        f"import sys; sys.modules[{missing!r}] = None\nfrom edgekit.errors import MissingExtraError\n"
        f"try:\n    import {module}\nexcept MissingExtraError as error:\n    print(error)"
    )
    assert found == message + "\n"


def test_import_edgekit_imports_the_standard_library_only():
    loaded = in_a_new_process(
        "import sys; before = set(sys.modules); import edgekit; print(*sorted(set(sys.modules) - before))"
    ).split()
    assert "edgekit" in loaded
    assert {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) == {"edgekit"}
    assert [name for name in loaded if name.startswith("edgekit.")] == []


def test_import_of_the_runtime_leaves_out_what_only_some_calls_need():
    loaded = in_a_new_process(
        "import sys, numpy, onnxruntime, tokenizers; before = set(sys.modules)\n"
        "import edgekit.runtime, edgekit.runtime.text_generator; print(*sorted(set(sys.modules) - before))"
    ).split()
    assert {"edgekit.runtime.translator", "edgekit.runtime.text_generator"} <= set(loaded)
    assert not set(loaded) & {"asyncio", "bz2", "difflib", "jinja2", "lzma", "shutil", "subprocess", "zipfile"}
    outside = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("edgekit.")}
    assert outside <= {"edgekit.bundle", "edgekit.cache", "edgekit.errors", "edgekit.runtime"}


def blocking(packages):
    """A statement after which importing any of the packages fails, as if it were not installed."""
    return f"import sys; sys.modules.update(dict.fromkeys({sorted(packages)!r}))\n"


def test_runtime_translates_with_every_other_package_blocked(embedded_int8):
    others = set(packages_distributions()) - {"edgekit", "numpy", "onnxruntime", "tokenizers"}
    assert {"click", "huggingface_hub", "onnx", "rich", "safetensors", "sentencepiece", "torch"} <= others
    use = f"import edgekit; print(edgekit.load({str(embedded_int8)!r}).translate('Good morning!'))"
    assert in_a_new_process(blocking(others) + use, PYTHONIOENCODING="utf-8") == "Guten Morgen!\n"


def test_export_needs_neither_torch_nor_the_command_line(tmp_path):
    absent = {"click", "onnxscript", "optimum", "rich", "sacrebleu", "torch", "transformers"}
    target = tmp_path / "exported"
    use = f"from edgekit.export import export; export('marian-en-de', 'int8', Path({str(target)!r}), 'embedded')"
    in_a_new_process(blocking(absent) + "from pathlib import Path\n" + use)
    assert (target / "bundle.json").is_file()


def test_setup_cfg_lists_every_package():
    found = {path.relative_to(ROOT).parent.as_posix().replace("/", ".") for path in SOURCES}
    listed = set(lines(setup_cfg()["options"]["packages"]))
    assert listed == found - {"models", "models.training"} | {"edgekit.models"}
    for package in listed - {"edgekit.models"}:
        assert (ROOT / package.replace(".", "/") / "__init__.py").is_file()


def test_every_data_file_is_packaged():
    # In a process of its own, because setuptools replaces the standard library's distutils at its import.
    listing = in_a_new_process(
        f"""
import os
from setuptools import Distribution

os.chdir({str(ROOT)!r})
distribution = Distribution()
distribution.parse_config_files(["setup.cfg"])
command = distribution.get_command_obj("build_py")
command.finalize_options()
for _, source, _, names in command.data_files:
    print(*(os.path.join(source, name) for name in names), sep="\\n")
"""
    )
    packaged = {Path(line) for line in listing.splitlines()}
    tracked = {
        path.relative_to(ROOT)
        for folder in ("edgekit", "models")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert Path("models/marian-en-de/model.safetensors") in tracked
    left = {path for path in tracked | packaged if path.parts[:2] in (("models", "training"), ("models", "lm-en-de"))}
    assert tracked - left <= packaged
    assert not packaged & left, "how the models were trained, and the twin, are in the repository and not in the wheel"
    assert not [path for path in packaged if path.suffix == ".pyc"]


def build_wheel(kind, folder):
    """A wheel in ``folder``, with all that is written on the way."""
    command = [sys.executable, "setup.py", "-q"]
    for name, option in {"egg_info": "-e", "build": "-b", "bdist_wheel": "-b"}.items():
        (folder / name).mkdir(exist_ok=True)
        command += [name, option, folder / name]
    env = os.environ | {"EDGEKIT_WHEEL": kind}
    return subprocess.run(
        [*command, "-d", folder], cwd=ROOT, env=env, check=False, timeout=120, capture_output=True, text=True
    )


def test_a_wheel_without_models_and_texts_has_less_than_1_megabyte_whatever_was_built_before(tmp_path):
    left = tmp_path / "build" / "lib" / "edgekit" / "models" / "marian-en-de"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(bytes(10))
    assert build_wheel("small", tmp_path).returncode == 0
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 1_000_000
    packed = set(zipfile.ZipFile(wheel).namelist())
    code = {path.relative_to(ROOT).as_posix() for path in SOURCES if path.parts[-3:-1] != ("models", "training")}
    assert {re.sub("^models/", "edgekit/models/", name) for name in code} <= packed
    assert {"edgekit/models/recipes/marian-en-de.toml", "edgekit/quality/testsets/ATTRIBUTION.md"} <= packed
    assert any(name.endswith("/LICENSE") for name in packed)
    assert not [name for name in packed if name.endswith((".gz", ".safetensors", ".spm"))]


def test_an_unknown_kind_of_wheel_is_refused(tmp_path):
    done = build_wheel("tiny", tmp_path)
    assert done.returncode == 1
    assert "expected one of full, small as EDGEKIT_WHEEL, found tiny" in done.stderr


def test_base_install_needs_only_the_runtimes_three_packages():
    names = {canonical(line) for line in lines(setup_cfg()["options"]["install_requires"])}
    assert names == {"numpy", "onnxruntime", "tokenizers"}


@pytest.mark.parametrize(("module", "extra"), EXTRA_OF_MODULE.items())
def test_the_extra_named_for_a_missing_module_brings_it(module, extra):
    brought = {canonical(line) for line in lines(setup_cfg()["options.extras_require"][extra])}
    assert brought & {canonical(name) for name in packages_distributions()[module]}


def test_bench_extra_includes_the_command_line_and_the_exporter():
    extras = setup_cfg()["options.extras_require"]
    assert "edgekit[cli]" in lines(extras["bench"])
    assert "edgekit[export]" in lines(extras["cli"])


def test_readme_names_only_extras_and_commands_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    extras = {name.strip() for group in re.findall(r"(?:edgekit|\.)\[([\w, ]+)\]", readme) for name in group.split(",")}
    assert {"bench", "test"} <= extras <= set(setup_cfg()["options.extras_require"])
    assert set(re.findall(r"^(?:\S*/)?edgekit (\w+)", readme, flags=re.MULTILINE)) <= set(COMMANDS)
