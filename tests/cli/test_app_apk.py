"""The Android app: its conversation on the JVM, and the APK that is built without Gradle."""

import json
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

import android
import apk
import pytest
from apk import ANDROID, APP, Dex, Jar, Member, Stubs, apk_tools, build_apk
from support import ROOT, converted

from edge.apps.folder import write_app

NAME = f"{{{build_apk.ANDROID}}}"
LIMIT = 16_000_000  # bytes of an APK without a model
LATER = {  # names of Java that API 23 lacks and API 24 has
    Member("java/lang/Boolean", "hashCode", "(Z)I"),
    Member("java/lang/Double", "hashCode", "(D)I"),
    Member("java/lang/Integer", "hashCode", "(I)I"),
    Member("java/lang/Long", "hashCode", "(J)I"),
}
PURE = ("Chat", "ChatModel", "OneAtATime", "Opener")  # what is tried here: Android is not needed


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> build_apk.Built:
    return apk.built(tmp_path_factory.mktemp("apk"))


def pack(built: build_apk.Built, *, stored: bool) -> Path:
    out = built.folder / f"{'stored' if stored else 'compressed'}.apk"
    if not out.exists():
        build_apk.packed(built, out, ["arm64-v8a"], stored=stored)
    return out


@pytest.fixture(scope="module", params=[False, True], ids=["compressed", "stored"])
def file(built: build_apk.Built, request: pytest.FixtureRequest) -> Path:
    """Both ways to pack native libraries."""
    return pack(built, stored=request.param)


def manifest(built: build_apk.Built, file: Path) -> str:
    """As Android reads it."""
    return apk_tools.run(
        built.tools.aapt2, "dump", "xmltree", file, "--file", "AndroidManifest.xml"
    )


@pytest.fixture(scope="module")
def checks(built: build_apk.Built) -> Path:
    out = built.folder / "checks.jar"
    tests = sorted((APP / "test").rglob("*.kt"))
    build_apk.kotlinc(built.tools, tests, out, [built.classes, built.tools.stdlib])
    return out


def test_the_conversation_without_its_screen(built: build_apk.Built, checks: Path) -> None:
    """Streams, stops, errors, what is refused, what is closed when, what is picked: over fakes of android.*."""
    path = f"{checks}:{built.classes}:{built.tools.stdlib}"
    done = android.ran(["java", "-cp", path, "edge.app.MainKt"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"3\d passed, 0 failed", done.stdout.strip())


def test_a_model_is_added_opened_and_says_what_edge_says(
    built: build_apk.Built, checks: Path, tmp_path: Path
) -> None:
    """The app's own classes but its screen, over the real ONNX Runtime."""
    made = converted(tmp_path / "it", ROOT / "edge/models/edge-stories")
    write_app(made, tmp_path / "app", force=False)
    (first, *_) = json.loads((ROOT / "apps/golden/answers.json").read_text("utf-8"))
    path = f"{checks}:{built.classes}:{built.tools.stdlib}:{android.classes()}"
    library = f"-Donnxruntime.native.path={android.native(tmp_path / 'native')}"
    asked = [str(tmp_path / "app"), str(tmp_path / "store"), first["prompt"]]
    done = android.ran(["java", library, "-cp", path, "edge.app.MainKt", *asked])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("".join(first["pieces"]))


def test_what_is_tried_here_is_not_androids() -> None:
    for name in PURE:
        source = (APP / "main/kotlin/edge/app" / f"{name}.kt").read_text("utf-8")
        assert "android." not in source, name


def test_the_signature_verifies_and_a_changed_apk_does_not(
    built: build_apk.Built, file: Path, tmp_path: Path
) -> None:
    said = build_apk.verified(built.tools, file)
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in said
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in said
    data = bytearray(file.read_bytes())
    data[data.index(b"dex\n") if b"dex\n" in data else len(data) // 2] ^= 1
    changed = tmp_path / "changed.apk"
    changed.write_bytes(data)
    with pytest.raises(apk_tools.Failed, match="DOES NOT VERIFY"):
        build_apk.verified(built.tools, changed)


def test_it_is_small_and_has_no_model(built: build_apk.Built) -> None:
    file = pack(built, stored=False)
    assert file.stat().st_size < LIMIT
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not name.startswith("res/")]
    assert sorted(names) == [
        "AndroidManifest.xml",
        "classes.dex",
        "classes2.dex",
        "lib/arm64-v8a/libonnxruntime.so",
        "lib/arm64-v8a/libonnxruntime4j_jni.so",
        "resources.arsc",
    ]


def test_native_libraries_lie_at_16_kb(file: Path) -> None:
    """Else a phone with such pages does not load them: in the file where they are stored, and in memory."""
    with zipfile.ZipFile(file) as archive, file.open("rb") as raw:
        stored = [one for one in archive.infolist() if one.compress_type == zipfile.ZIP_STORED]
        for one in stored:
            multiple = 16384 if one.filename.endswith(".so") else 4
            assert start(raw, one) % multiple == 0, one.filename
        assert "resources.arsc" in [one.filename for one in stored]  # from API 30 on it must be
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
        assert len(libraries) == 2
        for name in libraries:
            assert min(alignments(archive.read(name))) >= 16384, name
        packed = {one.filename for one in stored}
        assert ("lib/arm64-v8a/libonnxruntime.so" in packed) == (file.stem == "stored")


def start(raw: BinaryIO, one: zipfile.ZipInfo) -> int:
    """Where a file's bytes begin."""
    raw.seek(one.header_offset + 26)
    name, extra = struct.unpack("<HH", raw.read(4))
    return one.header_offset + 30 + name + extra


def alignments(elf: bytes) -> Iterator[int]:
    """Of the segments that are loaded, of a 64-bit library."""
    assert elf[:5] == b"\x7fELF\x02"
    (table,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for at in range(count):
        (kind,) = struct.unpack_from("<I", elf, table + at * size)
        if kind == 1:
            yield struct.unpack_from("<Q", elf, table + at * size + 48)[0]


def test_it_asks_for_no_permission_and_tells_nobody(built: build_apk.Built, file: Path) -> None:
    said = apk_tools.run(built.tools.aapt2, "dump", "permissions", file)
    assert said.split() == ["package:", "edge.app"]
    read = manifest(built, file)
    assert "provider" not in read
    assert "elemetry" not in read
    with zipfile.ZipFile(file) as archive:
        ours, theirs = (Dex(archive.read(name)) for name in ("classes.dex", "classes2.dex"))
    assert not [name for name in ours.defined | theirs.defined if "elemetry" in name]
    assert "ai/onnxruntime/OrtSession" in theirs.defined
    assert "ORT_DISABLE_TELEMETRY" in ours.strings
    assert '="edge.app.EdgeApp"' in read  # which sets it


LIBRARY = f"""<manifest xmlns:android="{build_apk.ANDROID}" package="ai.onnxruntime">
  <uses-sdk android:minSdkVersion="24"/>
  <uses-permission android:name="android.permission.INTERNET"/>
  <uses-permission android:name="android.permission.ACCESS_NETWORK_STATE"/>
  <uses-feature android:name="some.feature"/>
  <application>
    <provider android:name="ai.onnxruntime.TelemetryInitializer"
      android:authorities="${{applicationId}}.telemetry"/>
  </application>
</manifest>"""


def test_what_onnx_runtimes_own_aar_asks_for_is_taken_out() -> None:
    """The AAR that is packed here has an empty manifest; Microsoft's has these."""
    own = (APP / "main/AndroidManifest.xml").read_text("utf-8")
    read = build_apk.merged(own, [LIBRARY], stored=False)
    assert "some.feature" in read
    for word in ("permission", "provider", "elemetry", "tools"):
        assert word not in read
    lax = re.sub(r"<(uses-permission|provider)[^>]*remove\"[^>]*>", "", own)
    read = build_apk.merged(lax, [LIBRARY], stored=False)
    assert "permission.INTERNET" in read
    assert 'authorities="edge.app.telemetry"' in read


def test_every_name_of_android_is_there_from_the_first_to_the_last_version(
    built: build_apk.Built, file: Path
) -> None:
    jar, stubs = Jar(built.tools.platform), Stubs(apk.stubs())
    with zipfile.ZipFile(file) as archive:
        for name in ("classes.dex", "classes2.dex"):
            classes, members = Dex(archive.read(name)).needs("android/")
            assert not {one for one in classes if not jar.knows(one)}
            assert not {one for one in members if not jar.has(one)}
            assert not {one for one in classes if not stubs.knows(one)}
            named = {one for one in members if one.name != "<init>"}
            assert not {one for one in named if not stubs.has(one.owner, one.name)}
        assert len(Dex(archive.read("classes.dex")).needs("android/")[1]) > 80


def test_every_name_of_java_is_there_in_the_first_version(built: build_apk.Built) -> None:
    jar = Jar(built.tools.platform)
    classes, members = Dex(built.dex.read_bytes()).needs("java")
    assert {one for one in classes if not jar.knows(one)} <= {"java/util/Optional"}  # of API 24
    later = {one for one in members if not jar.has(one)}
    assert {one for one in later if one.owner != "java/util/Optional"} <= LATER


def test_names_that_no_platform_has_are_found(built: build_apk.Built) -> None:
    """Else the two tests above could not fail."""
    jar, stubs = Jar(built.tools.platform), Stubs(apk.stubs())
    drop = "requestDragAndDropPermissions"  # of API 24
    of = ("android/app/Activity", drop, "(Landroid/view/DragEvent;)V")
    assert not jar.has(Member(*of))
    assert stubs.has(*of[:2])
    assert jar.has(Member("android/widget/Button", "setText", "(I)V"))  # a TextView's
    assert not jar.has(Member("android/widget/Button", "setText", "(J)V"))
    assert stubs.has("android/widget/Button", "setText")
    assert not stubs.has("android/widget/Button", "setWords")
    assert not stubs.knows("android/widget/View$OnTickListener")


def test_names_that_are_asked_for_by_reflection_are_there() -> None:
    stubs = Stubs(apk.stubs())
    source = "".join(file.read_text("utf-8") for file in (APP / "main").rglob("*.kt"))
    asked = re.findall(r'(\w+)::class\.java\.getMethod\("(\w+)"', source)
    assert asked == [("Activity", "requestDragAndDropPermissions")]
    assert stubs.has("android/app/Activity", asked[0][1])


def test_the_manifest_says_what_the_system_should_do(built: build_apk.Built, file: Path) -> None:
    read = re.sub(r"\(0x[0-9a-f]+\)", "", manifest(built, file))
    for said in (
        "minSdkVersion=26",
        "targetSdkVersion=36",
        "allowBackup=false",
        "exported=true",  # by the launcher alone: there is one activity
        f"extractNativeLibs={str(file.stem != 'stored').lower()}",
        "windowSoftInputMode=0x00000010",  # resize: the keyboard covers nothing
    ):
        assert f"android:{said}" in read, said
    assert read.count("E: activity") == 1
    assert "debuggable" not in read


def layouts() -> list[ElementTree.Element]:
    return [
        ElementTree.parse(file).getroot()
        for file in sorted((APP / "main/res/layout").glob("*.xml"))
    ]


def nameless(layout: ElementTree.Element) -> list[str]:
    """Views that can be pressed or filled, and of which a screen reader cannot say what they are."""
    labelled = [one.get(f"{NAME}labelFor", "/").rpartition("/")[2] for one in layout.iter()]
    return [
        one.tag
        for one in layout.iter()
        if one.tag
        in ("Button", "ImageButton", "EditText", "Spinner", "Switch", "CheckBox", "SeekBar")
        and not any(one.get(f"{NAME}{kind}") for kind in ("text", "contentDescription", "hint"))
        and one.get(f"{NAME}id", "").rpartition("/")[2] not in set(labelled) - {""}
    ]


def test_every_view_that_can_be_used_has_a_name() -> None:
    assert [nameless(one) for one in layouts()] == [[], []]
    broken = f'<L xmlns:a="{build_apk.ANDROID}"><Button a:text="x"/><Button/><Spinner a:id="@+id/x"/></L>'
    assert nameless(ElementTree.fromstring(broken)) == ["Button", "Spinner"]
    (screen,) = [one for one in layouts() if one.tag == "LinearLayout"]
    live = [
        one.get(f"{NAME}id") for one in screen.iter() if one.get(f"{NAME}accessibilityLiveRegion")
    ]
    assert live == ["@+id/status"]


def test_words_are_resources_and_none_is_left_over() -> None:
    strings = ElementTree.parse(APP / "main/res/values/strings.xml").getroot()
    named = {one.get("name") for one in strings}
    files = [*(APP / "main").rglob("*.kt"), *(APP / "main").rglob("*.xml")]
    text = "".join(file.read_text("utf-8") for file in files)
    used = set(re.findall(r"(?:(?<!android\.)R\.string\.|@string/)(\w+)", text))
    assert used == named
    for layout in layouts():
        for one in layout.iter():
            for kind in ("text", "hint", "contentDescription"):
                assert one.get(f"{NAME}{kind}", "@string/").startswith("@string/"), one.attrib
    assert not re.findall(r'(?:text = |[sS]etText\(|setMessage\(|say\()"[^"]', text)


def test_large_type_finds_room_and_the_keyboard_covers_nothing() -> None:
    for layout in layouts():
        for one in layout.iter():
            height, width = one.get(f"{NAME}layout_height"), one.get(f"{NAME}layout_width")
            weight = one.get(f"{NAME}layout_weight")
            assert height in ("wrap_content", "match_parent") or (height == "0dp" and weight)
            assert width in ("wrap_content", "match_parent") or (width == "0dp" and weight)
            assert one.get(f"{NAME}textSize", "1sp").endswith("sp")
    (screen,) = [one for one in layouts() if one.tag == "LinearLayout"]
    assert (
        screen.get(f"{NAME}fitsSystemWindows") == "true"
    )  # from API 35 on an app is drawn under all


def test_the_dark_colours_are_those_of_the_light() -> None:
    def names(folder: str) -> set[tuple[str, str | None]]:
        tree = ElementTree.parse(APP / "main/res" / folder / "themes.xml").getroot()
        return {(one.tag, one.get("name")) for one in tree}

    assert names("values-night") == names("values") - {("color", "icon")}


def test_both_ways_to_build_take_the_same_versions(built: build_apk.Built) -> None:
    gradle = (ANDROID / "build.gradle.kts").read_text("utf-8")
    kotlin = apk_tools.KOTLIN.name.partition("@")[2]
    assert gradle.count(f'version "{kotlin}"') == 2
    package = json.loads((ANDROID / "package.json").read_text("utf-8"))
    assert package["dependencies"]["kotlin-compiler"] == kotlin
    app = (ANDROID / "app/build.gradle.kts").read_text("utf-8")
    (version,) = re.findall(r"onnxruntime-android:([\d.]+)", app)
    library = built.tools.onnxruntime / "jni/arm64-v8a/libonnxruntime.so"
    assert f"\0{version}\0".encode() in library.read_bytes()


def test_a_package_that_is_not_the_one_that_was_checked_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def other(package: apk_tools.Package, folder: Path) -> Path:
        (folder / package.file).write_bytes(b"x")
        return folder / package.file

    monkeypatch.setenv("EDGE_APPS_CACHE", str(tmp_path))
    monkeypatch.setattr(apk_tools, "_fetch", other)
    with pytest.raises(ValueError, match="another SHA-256 than was checked"):
        apk_tools.unpacked(apk_tools.KOTLIN, "package/")
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ANDROID / "build_apk.py", tmp_path / "edge.apk"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "cannot build here: java is not on the path\n"
