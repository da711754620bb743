"""What stands for a CUDA graph where there is no GPU."""


def replayed(function):
    """Record ``function``, a bound ``Passes.at_once``: the same again, on the same memory.

    A graph runs nothing while it is recorded, but for warming up; here that is all the same.
    """
    passes = function.func.__self__
    for _ in range(2):
        function()
    results = function()
    parameters = [p for p in passes.objective.parameters() if p.grad is not None]
    gradients = [p.grad for p in parameters]

    def replay():
        for place, new in zip(results, function(), strict=True):
            place.copy_(new)
        for place, parameter in zip(gradients, parameters, strict=True):
            place.copy_(parameter.grad)
            parameter.grad = None  # whoever replays must not count on it

    return results, replay
