"""describe.py DIR COUNTS NAME=VALUE...: DIR/cloud.json, all that a test needs to know. A dot in a name is one object within another."""
import json
import os
import sys

DIR, COUNTS, FACTS = sys.argv[1], sys.argv[2], sys.argv[3:]
with open(f"{DIR}/ids.json") as file:
    cloud = {"dir": DIR, **json.load(file), "counts": json.loads(COUNTS)}
for fact in FACTS:
    name, value = fact.split("=", 1)
    place = cloud
    *outer, last = name.split(".")
    for word in outer:
        place = place.setdefault(word, {})
    place[last] = int(value) if value.isdigit() else value
# Whole or not at all: whoever finds the file finds a cloud that is up.
with open(os.open(f"{DIR}/cloud.json.new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
    json.dump(cloud, file, indent=2)
    file.write("\n")
os.rename(f"{DIR}/cloud.json.new", f"{DIR}/cloud.json")
