# Runs in the build of an image, where the package was installed: finds its program as `uvx` would, and notes its version.
import os
import re
import sys
from importlib.metadata import distribution


def plain(text):
    return re.sub(r"[-_.]+", "-", text).lower()


name = sys.argv[1]
installed = distribution(name)
programs = sorted(point.name for point in installed.entry_points if point.group == "console_scripts")
of_its_name = [program for program in programs if plain(program) == plain(name)]
candidates = of_its_name or programs
if len(candidates) != 1:
    has = f"has several programs and none of its own name: {', '.join(programs)}" if programs else "has no program"
    sys.exit(f"{name} {has}")
os.symlink(os.path.join("bin", candidates[0]), "entry")
with open("VERSION", "w") as file:
    file.write(installed.version)
