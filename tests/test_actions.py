# SPDX-License-Identifier: Apache-2.0
"""The actions of security and container records: the Python enumeration against C's, as the compiler counts it."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import support
from tapio_fast.types import SecurityAction

EVENT = support.ROOT / "bpf/include/tf_event.h"


def test_every_action_has_the_number_that_the_compiler_gives_it(tmp_path: Path) -> None:
    body = re.search(r"enum tf_action \{(.*?)\};", EVENT.read_text(), re.DOTALL)
    assert body is not None
    names = re.findall(r"\bTF_A_(\w+)", re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL))
    source, program = tmp_path / "a.c", tmp_path / "a"
    source.write_text('#include <linux/types.h>\n#include <stdio.h>\n#include "tf_event.h"\nint main(void)\n{\n' + "\n".join(
        f'\tprintf("{name} %d\\n", TF_A_{name});' for name in names) + "\n\treturn 0;\n}\n")
    subprocess.run(["gcc", "-I", EVENT.parent, "-o", program, source], check=True, timeout=60)
    lines = subprocess.run([program], check=True, capture_output=True, text=True, timeout=10).stdout.split("\n")[:-1]
    numbers = {name: int(number) for name, number in (line.split() for line in lines)}
    assert numbers.pop("COUNT") == len(SecurityAction)
    assert numbers == {member.name: member.value for member in SecurityAction}
