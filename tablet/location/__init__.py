"""Where tablets are: what clients, tablet servers and the tablet master must agree upon (BT 5.1).

The problem. A table is cut into tablets that move from server to server. A client has a row's key and wants the address
of the one server that has it, without asking a master.

The idea is the paper's, a tree of three levels:

    a file of the lock service    says where the root tablet is
    the root tablet               has a row for each tablet of the METADATA table
    METADATA tablets              have a row for each tablet of all other tables
    user tablets

The row of a tablet has the key of its *last* row, so that the first row after the key of a wanted row is its tablet's.
Rows about METADATA tablets come before all others, so the root tablet is the first METADATA tablet. It is never split.

    places.py      the keys of METADATA rows, the row's value, where things lie in GFS and in the lock service
    messages.py    rows, filters and mutations on the wire
    tablet_log.py  what METADATA remembers of each tablet
    once.py        each request to change something is carried out once

A METADATA row is changed by a compare-and-set on its value, and each value differs from all earlier ones by the token
of the assignment: whoever acts on something old finds another value there and changes nothing.

A split replaces one tablet by two, so it changes two rows; but only one row can be changed at once. So the row of the
upper half is written first, and it names the lower half as well (`lower_half`). That is the split. Then the lower half
gets its row, and last it is taken out of the other one. Whoever finds both in one row knows both.

A merge goes the same way back. The row of the upper tablet names the lower one too, and what is to become of both
(`merging`); then the row of the lower one is removed; then, in one step, the row of the two becomes that of one. That
is the merge. Before it there are two tablets, which whoever comes next gives a row each; after it there is one.

A change that was sent once may arrive late. One of a row that is there changes nothing then, since no two values of a
row are alike. But a row that is missing says nothing of what it was: so the row of a lower half, written late, may come
back after the merge. Therefore of two tablets that have a row in common, the one with the higher number is alive, for
it comes from the other one (`places.living`), and the master removes the row of the other one.
"""
