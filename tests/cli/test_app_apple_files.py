"""What Xcode takes beside the sources of the app for iOS and macOS: the project, property lists, texts."""

import json
import plistlib
import re
from typing import Any

import pytest

pytest.importorskip("coremltools")

import apple

SHOWN = re.compile(
    r"(Text|Button|Label|ProgressView|TextField|Toggle|Stepper|LabeledContent|navigationTitle|alert)\($"
)
# What no user reads, or in any language: roles, targets, folders, marks of quotation.
UNSEEN = {"", "user", "assistant", "coreml", "mlx", "models", ".compiled"}
UNSEEN |= {"> ", r"\n", r"\n> ", r"\n\n"}


def key_of(literal: str) -> str:
    """What SwiftUI looks up for a text with interpolations."""
    kinds = {r"\(name)": "%@", r"\(text)": "%@", r'\(rate, specifier: "%.1f")': "%.1f"}
    kinds |= {rf"\(megabytes({what}))": "%lld" for what in ("needed", "free", "model.bytes")}
    for code, kind in {**kinds, r"\(settings.maxTokens)": "%lld"}.items():
        literal = literal.replace(code, kind)
    return literal


def test_every_text_of_the_screens_is_in_the_catalogue_and_the_reverse() -> None:
    catalogue = json.loads((apple.APPLE / "App" / "Localizable.xcstrings").read_text())
    used = set()
    for file in sorted((apple.APPLE / "App").glob("*.swift")):
        for before, literal in apple.literals(file.read_text()):
            if SHOWN.search(before):
                used.add(key_of(literal))
            elif not before.endswith("systemImage: "):
                assert literal in UNSEEN, f"{file.name}: {literal}"
    assert used - {""} == set(catalogue["strings"])
    assert (catalogue["sourceLanguage"], catalogue["version"]) == ("en", "1.0")
    places = re.compile(r"%(?:\d\$)?(@|lld|\.1f)")
    for key, entry in catalogue["strings"].items():
        assert entry["localizations"].keys() == {"de", "zh-Hans"}, key
        for said in entry["localizations"].values():
            unit = said["stringUnit"]
            assert unit["state"] == "translated"
            assert unit["value"].strip()
            assert sorted(places.findall(unit["value"])) == sorted(places.findall(key)), key
    told = (apple.APPLE / "Xcode" / "Edge.xcodeproj" / "project.pbxproj").read_text()
    regions = apple.project(apple.APPLE / "Xcode" / "Edge.xcodeproj" / "project.pbxproj")
    (root,) = [one for one in regions["objects"].values() if one["isa"] == "PBXProject"]
    assert {"en", "de", "zh-Hans"} <= set(root["knownRegions"])
    assert told.count("LOCALIZATION_PREFERS_STRING_CATALOGS = YES") == 2


def test_nothing_in_the_app_ends_it() -> None:
    """What cannot be had is told: no source unwraps or casts by force, or stops the process."""
    ends = re.compile(r"try!|\bas!|fatalError|preconditionFailure|[\w)\]]!(?![=\w])")
    for kind in ("App", "Sources/EdgeKit", "Sources/EdgeCoreML", "Sources/EdgeMLX"):
        for file in sorted((apple.APPLE / kind).rglob("*.swift")):
            for line in file.read_text().splitlines():
                code = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line.partition("//")[0])
                assert not ends.search(code), f"{file.name}: {line}"


def test_the_project_names_what_is_there() -> None:
    xcode = apple.APPLE / "Xcode"
    read = apple.project(xcode / "Edge.xcodeproj" / "project.pbxproj")
    objects = read["objects"]
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for one in objects.values():
        by_kind.setdefault(one["isa"], []).append(one)
    ids = {word for one in objects.values() for word in words_of(one) if word.startswith("ED6E")}
    assert ids | {read["rootObject"]} <= objects.keys()
    (target,), (group,) = by_kind["PBXNativeTarget"], by_kind["PBXFileSystemSynchronizedRootGroup"]
    assert objects[target["fileSystemSynchronizedGroups"][0]] is group
    assert (xcode / group["path"] / "EdgeApp.swift").is_file()
    for file in by_kind["PBXFileReference"]:
        assert file["sourceTree"] == "BUILT_PRODUCTS_DIR" or (xcode / file["path"]).is_file()
    package = xcode / by_kind["XCLocalSwiftPackageReference"][0]["relativePath"] / "Package.swift"
    for product in by_kind["XCSwiftPackageProductDependency"]:
        assert f'.library(name: "{product["productName"]}"' in package.read_text()
    assert ".iOS(.v18), .macOS(.v15)" in package.read_text()
    for number in objects[target["buildConfigurationList"]]["buildConfigurations"]:
        settings = objects[number]["buildSettings"]
        assert settings["IPHONEOS_DEPLOYMENT_TARGET"] == "18.0"
        assert settings["MACOSX_DEPLOYMENT_TARGET"] == "15.0"
        assert settings["CODE_SIGN_ENTITLEMENTS[sdk=iphoneos*]"] == "iOS.entitlements"
        assert settings["CODE_SIGN_ENTITLEMENTS[sdk=macosx*]"] == "macOS.entitlements"


def test_the_app_asks_for_files_and_memory_alone_and_says_why() -> None:
    def read(name: str) -> dict[str, Any]:
        return plistlib.loads((apple.APPLE / name).read_bytes())

    mac = {"com.apple.security.app-sandbox", "com.apple.security.files.user-selected.read-only"}
    assert {
        key for key, value in read("Xcode/macOS.entitlements").items() if value
    } == mac  # no network
    phone = {"com.apple.developer.kernel.increased-memory-limit": True}
    assert read("Xcode/iOS.entitlements") == phone
    told = read("App/PrivacyInfo.xcprivacy")
    assert (told["NSPrivacyTracking"], told["NSPrivacyCollectedDataTypes"]) == (False, [])
    used = "".join(
        file.read_text()
        for kind in ("App", "Sources")
        for file in (apple.APPLE / kind).rglob("*.swift")
    )
    named = {
        kind["NSPrivacyAccessedAPIType"].removeprefix("NSPrivacyAccessedAPICategory")
        for kind in told["NSPrivacyAccessedAPITypes"]
    }
    needs = {
        "UserDefaults": "UserDefaults",
        "DiskSpace": "attributesOfFileSystem",
        "FileTimestamp": "DateKey",
        "SystemBootTime": "systemUptime",
    }
    assert named == {name for name, word in needs.items() if word in used}
    assert all(
        kind["NSPrivacyAccessedAPITypeReasons"] for kind in told["NSPrivacyAccessedAPITypes"]
    )


def words_of(value: Any) -> list[str]:
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return [str(value)] if inner is None else [word for one in inner for word in words_of(one)]
