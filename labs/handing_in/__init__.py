"""From a student's state to a grade: the file that is handed in, and the judgement of a folder of them.

    classes.py    the teacher's secret, a card for each student, keys
    reports.py    canonical JSON, signing, reading back            grading.py    judging one file, and a folder

Trust. The grader believes what it computes: it judges the evidence again, runs simulations again, and runs a student's
scenario again in a process of its own. What it cannot compute, the records of a cluster on the student's machine, it
has to take as they are signed; what that means is in docs/drills.md.
"""
