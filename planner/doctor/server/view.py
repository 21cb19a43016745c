"""How a diagnosis is shown: Rich renderables. Prints nothing itself."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from planner.doctor.server.changes import Change
from planner.doctor.server.diagnosis import Diagnosis
from planner.engine import flag
from planner.study import LAYOUT


def diagnosis_view(found: Diagnosis) -> RenderableType:
    """What bounds the server, the evidence, what is missing, and what the models say of changes."""
    bound, seconds = found.bound, max(one.seconds for one in found.windows)
    names = ", ".join(dict.fromkeys(one.url for one in found.windows))
    lines = [Text(f"{names}, watched for {seconds:.0f} s", "bold"), Text()]
    style = "yellow" if bound.kind == "cannot tell" else "bold cyan"
    lines.append(Text.assemble("bound by  ", (bound.sentence, style)))
    lines += [Text(f"          {line}") for line in bound.evidence]
    if bound.missing and bound.kind != "cannot tell":
        lines.append(Text(f"missing   {', '.join(bound.missing)}", "dim"))
    if bound.levers:
        lines.append(Text(f"acts on   {', '.join(map(flag, bound.levers))}"))
    return Group(*lines, *_predicted(found))


def _predicted(found: Diagnosis) -> list[Text]:
    if found.weighed is None:
        return [Text(f"to try    cannot say: {found.silence}", "dim")]
    if found.load is None:
        return []
    worth = found.weighed.worth
    lines = [Text(f"to try    {_words(worth[0])}", "green")] if worth else []
    lines += [Text(f"          {_words(one)}") for one in worth[1:]]
    if not worth:
        lines = [Text("to try    nothing: no single change of these settings is expected to bring 3 %")]
    if found.weighed.useless:
        names = ", ".join(name if name == LAYOUT else flag(name) for name in found.weighed.useless)
        lines.append(Text(f"no help   {names}", "dim"))
    load = found.load
    lengths = f"about {load.mean_input_tokens:.0f} tokens in and {load.mean_output_tokens:.0f} out"
    about = f"predicted for {load.concurrency} requests in flight, {lengths}; planner tune measures it"
    lines.append(Text(about, "dim"))
    return lines


def _words(one: Change) -> str:
    return f"{one.flags}: {one.gain:+.0%} output tokens/s"
