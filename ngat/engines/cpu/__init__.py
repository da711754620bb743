"""The CPU engine: attention, linear maps and projection in kernels that numba compiles.

To be read in this order; each file begins with the equations that its kernels compute.

=================== ============================================================================
``simd``            short vectors as values: a kernel is written for one node, computes several
``exponential``     exp of such a vector (eq. 17), σ of planes
``taps``            what a relation's taps lead to: neighbours, children, the parent
``kernels``         ``forward``: attention over one level, joint or typed (eq. 16–18)
``backward``        ``backward``: its gradients in z, el, er and t
``tiles, products`` ``maps``: W x + c with what follows it (eq. 15); ``outer``: gradients in W, c
``normed``          ``fold_in``, ``fold_back``: a normalisation that the next map absorbs
``windows``         rows of the maps' results, kept in a core's cache between two kernels
``sweep``           ``sweep``: maps, attention and last map of a typed update, block by block
``sweep_backward``  ``sweep_back``: its gradients
``projection``      ``integrate``, ``project_rows``, ``project_back``: means over pyramids (eq. 5)
=================== ============================================================================

Around the kernels: ``compile`` keeps compiled code and shares work among threads. ``update`` turns
a typed update's tensors into addresses, ``work`` those of one level's attention. ``fused`` makes a
typed update one operation of autograd, ``joint`` a layer of joint relations; a forward pass of both
is in ``fused``. ``attend`` is what :mod:`ngat.attention` asks for, one level's attention first.

Kernels take tuples of numbers and addresses, since numba counts references to arrays. The same few
are passed on everywhere: :class:`~ngat.engines.cpu.kernels.Task` says which nodes,
:class:`~ngat.engines.cpu.taps.Sources` what they attend to,
:class:`~ngat.engines.cpu.products.Operand` where planes lie, ``slope`` the slope of the LeakyReLU
in the type of all numbers, and ``size`` the bytes of one. A name that ends with ``_`` is an address
or an operand; the name without it is the pointer for one head of one picture.
"""
