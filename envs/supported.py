"""Check that requirements.lock can be installed here; ``make setup`` asks before it installs anything.

Runs on the Python that is to be judged, before any package is there: the standard library, and syntax that an old
Python reads too.
"""

import platform
import sys

#: What the locked packages have wheels for: av for this glibc and macOS, immutables for no newer Python.
SUPPORTED = (
    "DeepFakeMnist+ supports CPython 3.11, 3.12 and 3.13 on Linux with glibc 2.28 or newer (x86_64 or aarch64) and on "
    "macOS 14 or newer (arm64)"
)


def _version(text: str) -> tuple:
    """Return "2.36" as (2, 36), and what is no version as ()."""
    numbers = text.split(".")[:2]
    return tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else ()


def main() -> None:
    """Exit with one sentence on what is supported, unless this interpreter on this machine is."""
    python, system, machine = platform.python_implementation(), platform.system(), platform.machine()
    if system == "Darwin":
        release = platform.mac_ver()[0]
        place, fits = f"macOS {release}", machine == "arm64" and _version(release) >= (14,)
    else:
        libc, release = platform.libc_ver()  # another C library than glibc has another name here, or none
        place = " ".join(word for word in (system, libc, release) if word)
        fits = libc == "glibc" and _version(release) >= (2, 28) and machine in ("x86_64", "aarch64")
    if not (fits and python == "CPython" and (3, 11) <= sys.version_info[:2] < (3, 14)):
        sys.exit(f"{SUPPORTED}; this is {python} {platform.python_version()} on {place} ({machine}).")


if __name__ == "__main__":
    main()
