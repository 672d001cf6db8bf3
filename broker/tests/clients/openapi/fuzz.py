"""Asks a broker all that its OpenAPI document knows of, and much that it does not: by Schemathesis.

    fuzz.py BROKER FOLDER CASE SECONDS

A case is a broker of its own: `open` takes everybody for an administrator, `tokens` wants tokens. Prints one line,
{"case": ..., "ok": ..., "detail": ...}, which the runner (broker/tests/clients.rs) reads.
"""

import json
import os
import subprocess
import sys
import time

import stage

HERE = os.path.dirname(os.path.abspath(__file__))
# In the short run the same requests each time; names of topics and ids aside, which the broker gives.
SEED = 20_260
SHORT_EXAMPLES = 20
LONG_EXAMPLES = 200
SHOWN = 6_000


def configuration(broker, names, case, is_long):
    """The settings of the source tree, with what only this run knows."""
    with open(os.path.join(HERE, "schemathesis.toml"), encoding="utf-8") as file:
        text = file.read()
    own = {
        "delayed": names["delayed"],
        "connections": names["connections"],
        "doomed-topics": [f"doomed-{n}" for n in range(stage.DOOMED)],
        "doomed-groups": [f"idle-{n}" for n in range(stage.DOOMED)],
    }
    lines = [f"seed = {int(time.time()) if is_long else SEED}"]
    lines += [f'base-url = "{broker.url}"']
    headers = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in broker.headers.items())
    lines += [f"headers = {{ {headers} }}"]
    lines += [f"generation.max-examples = {LONG_EXAMPLES if is_long else SHORT_EXAMPLES}"]
    tables = []
    for name, values in own.items():
        tables += [f"[dictionaries.{name}]\nvalues = {json.dumps(values)}\n"]
    if case == "open":
        # Nobody is asked who he is.
        lines += ["generation.with-security-parameters = false"]
        tables += ["[checks.ignored_auth]\nenabled = false\n"]
    if is_long:
        # By then the whole topic may have been deleted, or all of its records cancelled at once, and all groups be gone:
        # the order is by chance.
        never = ["DELETE /v1/delayed/messages/{id}", "DELETE /v1/groups/{group}/offsets"]
        tables += [f"[checks.every_operation_succeeds_once]\nnever = {json.dumps(never)}\n"]
    return "\n".join(lines) + "\n" + text + "\n" + "\n".join(tables)


def run(broker, case, folder, is_long):
    """The output of Schemathesis, and whether it has found nothing."""
    path = os.path.join(folder, "schemathesis.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(configuration(broker, stage.set_up(broker, int(time.time() * 1000)), case, is_long))
    command = [sys.executable, "-B", "-m", "schemathesis.cli", "--config-file", path, "--no-color", "run"]
    environment = dict(os.environ, SCHEMATHESIS_HOOKS=os.path.join(HERE, "checks.py"))
    with open(os.path.join(folder, "output"), "w+", encoding="utf-8") as output:
        done = subprocess.run(
            command + [f"{broker.url}/openapi.json"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            preexec_fn=stage.die_with_parent,
        )
        output.seek(0)
        return output.read(), done.returncode == 0


def main():
    binary, folder, case = sys.argv[1:4]
    is_long = os.environ.get("TIDEWHEEL_SUITES") == "full"
    started = time.monotonic()
    with stage.Broker(binary, folder, case == "tokens") as broker:
        said, ok = run(broker, case, folder, is_long)
        alive = broker.process.poll() is None
    if not alive or broker.status != 0:
        ok, said = False, f"{said}\nthe broker ended with {broker.status}"
    print(
        json.dumps(
            {
                "case": case,
                "ok": ok,
                "detail": said[-SHOWN:],
                "ms": int((time.monotonic() - started) * 1000),
            }
        )
    )
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
