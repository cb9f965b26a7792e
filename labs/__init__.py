"""The course: drills that a class does, and what is handed in and graded.

The problem. A class of thirty does the same exercise on thirty machines, or on one. Each student needs a cluster, a
question that has one answer on *that* cluster, and a judgement at once; the teacher needs thirty files that can be
judged without thirty evenings.

The idea. A *drill* is a page in Markdown, something to start, and a function for each question that finds the answer
in the *evidence*: what the cluster recorded of itself, or what a deterministic run gave. Nothing that can be computed
is written down as an answer. The evidence goes into the file that is handed in, so that the grader applies the same
functions to it, and believes no points.

    drills/       what a drill is: pages, questions, evidence, judging (pure); live/ and simulated/ hold the drills
    handing_in/   class files and keys, signing, reports, grading a folder
    state.py      what a student has done so far, on disk       worker.py     simulated runs, in a process of their own
    doing.py      starting, looking at and stopping a drill     plug.py       the commands, put under `tabletop drill`
    student_commands.py, teacher_commands.py                    the commands

This room stands above `tabletop/`, which does not know it: `tabletop/plugs.py` asks the rooms that are installed for
their commands (docs/decisions/0028).

What we simplify. Explanations in words are collected, and a person reads them. Nothing here can prove what happened on
a machine that the student owns; docs/drills.md says what the signature proves and what not.
"""
