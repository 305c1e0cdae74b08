"""The PTX of CUDA kernels, executed on the CPU.

What runs is the text that NVIDIA's assembler turns into machine code, so Numba's typing, NVVM's optimiser, libdevice,
address arithmetic, argument layout, wide accesses, shuffles, atomics and barriers between blocks all take part. Each
access is checked for bounds and alignment, and for races within a block, on request between blocks too.
Not covered: the assembler itself, real concurrency, time, and the rounding of approximate instructions.

    parser      text -> instructions
    liveness    what a thread must keep while it waits
    emitter     LLVM IR while it is written
    arithmetic, accesses    one function for each kind of instruction
    translate   a kernel -> machine code of this CPU
    runtime     the checks of an access
    scheduler   threads by turns, barriers, operations of warps
    machine     a launch and its memory: launch(ptx, grid, block, args)
    arrays, driver    numba-cuda's own launches, on this executor: offline_gpu()
    toolchain   kernels compiled without a driver
"""
