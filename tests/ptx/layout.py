"""What the translated code and the scheduler both know: the state of a thread, of a block, and the codes between them.

A thread's state is a row of 32-bit words: where it resumes, a mailbox for operations of a warp, its special registers,
then the registers that it needs after the resumption. A block's environment is a row of 64-bit words.
"""

from __future__ import annotations

# Why a thread gave up control
EXIT, BARRIER, WARP, SPIN, PREEMPTED, FAULT, TRAP = range(7)

# Words of a thread's state
RESUME = 0
MAIL = 1  # value, lane, clamp, mode, mask of members, result, predicate
MAIL_VALUE, MAIL_LANE, MAIL_CLAMP, MAIL_MODE, MAIL_MASK, MAIL_RESULT, MAIL_PREDICATE = range(MAIL, MAIL + 7)
THREAD, BLOCK = 8, 9  # flat indices within the block and the grid
SPECIALS = 10
SPECIAL_NAMES = [f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"]
SPECIAL_NAMES += ["%laneid", "%warpid", "%nwarpid", "%dynamic_smem_size", "%total_smem_size"]
REGISTERS = 28  # an even number: registers of 64 bits are aligned

# Modes of the mailbox
UP, DOWN, BUTTERFLY, INDEX, MEET, BALLOT, ANY, ALL, UNIFORM, COUNT = range(10)

# Words of a block's environment
SHARED, SHARED_BYTES, SHARED_RECORDS, INTERVAL, WARP_INTERVALS = 0, 1, 2, 3, 4
FAULT_ADDRESS, FAULT_PLACE, FAULT_KIND, FAULT_OTHER = 5, 6, 7, 8
RANGES, RANGE_COUNT, SITES, PARAMETERS, LOCAL, LOCAL_BYTES = 9, 10, 11, 12, 13, 14
RACES, ENVIRONMENT = 15, 16

# Kinds of access
READ, WRITE, ATOMIC, LOOK = range(4)  # LOOK: an atomic load

MISALIGNED, OUT_OF_BOUNDS, RACE_WRITTEN, RACE_READ, RACE_ATOMIC, DIVISION, POOL = range(1, 8)
