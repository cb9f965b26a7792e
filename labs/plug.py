"""What `tabletop/plugs.py` asks this room for: the commands `tabletop drill …`."""

import typer

from labs import student_commands, teacher_commands


def plug_into(app: typer.Typer) -> None:
    """Put the commands of this room under `app`."""
    group = student_commands.app
    group.command("class")(teacher_commands.new)
    group.command("grade")(teacher_commands.grade)
    app.add_typer(group, name="drill")
