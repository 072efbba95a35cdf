"""Asks for known holes in what requirements.lock pins, and never takes silence for safety.

    .venv/bin/python .ci/audit.py [REPORT.json]

pip-audit leaves out a package that its source does not answer about, says so in a long list, and ends with 0. Where no
source can be reached that is every package. Here the exit code is 0 only where all were looked up and none has a known
hole; 1 where one has; 2 where some, or all, could not be looked up. With REPORT.json, a report that
`pip-audit --format json` wrote elsewhere is judged instead.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
COMMAND = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes", "--disable-pip",
           "--format", "json", "--progress-spinner", "off"]  # fmt: skip
ELSEWHERE = "nothing is known of them: run this again where https://pypi.org/pypi/NAME/VERSION/json can be reached"


def main() -> int:
    """Prints what was found."""
    if len(sys.argv) > 1:
        text, said = Path(sys.argv[1]).read_text(encoding="utf-8"), ""
    else:
        done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
        text, said = done.stdout, done.stderr
    try:
        packages = json.loads(text)["dependencies"]
    except (ValueError, LookupError, TypeError):
        lines = said.strip().splitlines() or ["it gave no report"]
        return _say(2, f"NOT AUDITED: pip-audit failed: {lines[-1]}")
    return judge(packages)


def judge(packages: list[dict[str, Any]]) -> int:
    """The exit code for what pip-audit says of each package."""
    holes = [(package, hole) for package in packages for hole in package.get("vulns", [])]
    for package, hole in holes:
        mended = ", ".join(hole.get("fix_versions", [])) or "no version yet"
        _say(1, f"HOLE: {package['name']} {package['version']} has {hole['id']}; mended in {mended}")
    left_out = [package["name"] for package in packages if "skip_reason" in package]
    asked = len(packages) - len(left_out)
    if left_out or not packages:
        some = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        _say(2, f"NOT AUDITED: {len(left_out)} of {len(packages)} packages ({some}) were not found; {ELSEWHERE}")
        return 1 if holes else 2
    return _say(1 if holes else 0, f"{asked} packages were looked up, with {len(holes)} known holes")


def _say(code: int, line: str) -> int:
    print(f"audit: {line}", file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
