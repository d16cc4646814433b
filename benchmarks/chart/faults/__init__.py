"""Faults, one module per group; every module `faults/*.py` is found by itself.

A mutant is a function that changes a subject's `Program` before it is trained; its docstring says what is wrong in one
sentence. It is entered once per subject, at least two:

    @cases.mutant(19, ["mlp", "gpt"], accepts=["clipping-dominates"])
    def clip_norm_tiny(program: Program) -> None:
        '''The gradient is clipped to a norm of 1e-5.'''
        program.clip_norm = 1e-5

`accepts` holds every name of a rule that is a right diagnosis: the cause itself, not a symptom of it. `place` is text
that a right place contains (a layer's or parameter's name, "input", "target"), a mapping where it differs by subject,
None where the whole run is the place. The first argument is the number of the fault type. See `example.py`.
"""
