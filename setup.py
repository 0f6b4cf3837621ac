"""Installs kipax: ``pip install -e .`` for the core; extras in brackets, see the README."""

import importlib.util
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
version: dict[str, str] = {}
exec((HERE / "kipax" / "version.py").read_text(), version)

# rich (progress bars) and orbax-checkpoint come with flax, scipy with jax.

# Each vector width is compiled with its own flags; the library chooses at run time. The link
# order matters: of an inline function that several files hold, the first one's is kept, and
# that must be the one that runs everywhere.
FUSED = "kipax/kernels/fused"
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-g0", "-w"]
WIDTHS = {
    "ffi": [],
    "cuda": [],
    "base": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
ON_X86 = ("avx2", "avx512")


class BuildFused(build_ext):
    """Builds the fused CPU kernel where there is a compiler; without one kipax is slower."""

    def build_extension(self, ext):
        """Compiles and links, or says why not."""
        try:
            self._build(ext)
        except Exception as error:
            self.announce(f"kipax: no fused CPU kernel, the portable one serves: {error}", level=4)

    def _build(self, ext):
        spec = importlib.util.find_spec("jaxlib")
        if spec is None:
            raise RuntimeError("jaxlib, whose headers it needs, is not there")
        include = Path(spec.submodule_search_locations[0]) / "include"
        x86 = platform.machine().lower() in ("x86_64", "amd64")

        def compile_one(name):
            return self.compiler.compile(
                [f"{FUSED}/{name}.cpp"],
                output_dir=self.build_temp,
                include_dirs=[str(include), FUSED],
                extra_postargs=FLAGS + WIDTHS[name],
            )

        names = [name for name in WIDTHS if x86 or name not in ON_X86]
        Path(self.build_temp, FUSED).mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:  # compilers are processes of their own
            objects = [file for made in pool.map(compile_one, names) for file in made]
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            objects, str(target), extra_postargs=["-pthread"], target_lang="c++"
        )


CORE = [
    "jax>=0.6.2",
    "jaxlib>=0.6.2",
    "flax>=0.10.7",
    "optax>=0.2.5",
    "numpy>=1.26",
    "absl-py>=1.4",
    "dm-pix>=0.4.3",
    "rich>=11",
    "scipy>=1.11",
]
DATA = ["tensorflow-datasets>=4.9.10", "importlib-resources", "pillow>=10"]
# The only set in which Launchpad imports: CPython 3.10, TensorFlow 2.8.0, numpy 1.26.
TENSORFLOW_310 = [
    "tensorflow==2.8.0; python_version == '3.10' and platform_machine == 'x86_64'",
    "protobuf==3.20.3; python_version == '3.10'",
    "numpy==1.26.4; python_version == '3.10'",
    "jax==0.6.2; python_version == '3.10'",
]
EXTRAS = {
    "plots": ["matplotlib>=3.8", "pillow>=10"],
    "weights": ["safetensors>=0.4"],
    "analysis": ["scikit-learn>=1.3"],
    "data": DATA,
    # TensorFlow too: to prepare most sets, and to read those stored as tfrecord.
    "tfds": [*DATA, *TENSORFLOW_310, "tensorflow>=2.18; python_version >= '3.11'"],
    "test": [
        "pytest>=8",
        "pytest-xdist>=3.5",
        "hypothesis>=6.100",
        "safetensors>=0.4",
        "scikit-learn>=1.3",
        "matplotlib>=3.8",
        "nbclient>=0.10",
        "ipykernel>=6.29",
        *DATA,
    ],
    "launchpad": [
        "dm-launchpad==0.5.2; python_version == '3.10'",
        *TENSORFLOW_310,
        "six; python_version == '3.10'",
    ],
    # Workers where Launchpad cannot go.
    "ray": ["ray>=2.40"],
    # On 3.11 and later: pip install --no-deps neural-tangents==0.6.5 && pip install frozendict
    "nt": [
        "neural-tangents==0.6.4; python_version == '3.10'",
        "tf2jax==0.3.5; python_version == '3.10'",
    ],
    "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.25"],
    "dev": ["ruff==0.17.6", "mypy==2.4.1"],
}
NOT_IN_ALL = ("dev", "docs", "tfds", "launchpad", "nt", "ray")  # TensorFlow alone is 2 GB
EXTRAS["all"] = sorted({p for name, ps in EXTRAS.items() if name not in NOT_IN_ALL for p in ps})

setup(
    name="kipax",
    version=version["__version__"],
    description="Kernel dataset distillation with exact infinite-width kernels, in JAX",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["kipax", "kipax.*"]),
    entry_points={"console_scripts": ["kipax = kipax.commands:main"]},
    package_data={
        "kipax.data": ["digits.npz"],
        "kipax.kd.sources": ["photo.npz"],
        "kipax": ["py.typed"],
        "kipax.shipped": ["*.npz"],
        "kipax.kernels.fused": ["*.h"],  # compiled at run time for GPUs
    },
    ext_modules=[
        Extension("kipax.kernels.fused._fused", [f"{FUSED}/{n}.cpp" for n in WIDTHS], optional=True)
    ],
    cmdclass={"build_ext": BuildFused},
    install_requires=CORE,
    extras_require=EXTRAS,
    license="Apache-2.0",
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
