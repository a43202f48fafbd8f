"""Writes the bill of materials of the binary as CycloneDX 1.5 JSON, from `cargo metadata`.

What the binary is built from: normal and build dependencies of the package `tercet`, for the platform
that builds it. The same lock file gives the same bytes.
"""

import json
import subprocess
import sys


def rust_host():
    told = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.split(": ")[1] for line in told.splitlines() if line.startswith("host: "))


def metadata():
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", rust_host()]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def checksums():
    import tomllib

    with open("Cargo.lock", "rb") as lock:
        packages = tomllib.load(lock)["package"]
    return {(one["name"], one["version"]): one.get("checksum") for one in packages}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, sums):
    out = {"type": "library", "bom-ref": purl(package), "name": package["name"]}
    out |= {"version": package["version"], "purl": purl(package)}
    if package["license"]:
        out["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = sums.get((package["name"], package["version"]))
    if checksum:
        out["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return out


def main(path):
    data = metadata()
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    root = next(one for one in data["packages"] if one["name"] == "tercet" and not one["source"])

    def needs(name):
        for edge in nodes[name]["deps"]:
            if any(kind["kind"] in (None, "build") for kind in edge["dep_kinds"]):
                yield edge["pkg"]

    reached, waiting = set(), [root["id"]]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(needs(name))
    sums = checksums()
    others = sorted((packages[name] for name in reached - {root["id"]}), key=purl)
    everything = sorted((packages[name] for name in reached), key=purl)
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, sums) | {"type": "application"}},
        "components": [component(package, sums) for package in others],
        "dependencies": [
            {
                "ref": purl(package),
                "dependsOn": sorted(purl(packages[name]) for name in set(needs(package["id"]))),
            }
            for package in everything
        ],
    }
    assert len(others) > 50, "a binary of few packages: is this the right folder?"
    with open(path, "w") as out:
        json.dump(bom, out, indent=1)
        out.write("\n")


main(sys.argv[1])
