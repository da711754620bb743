# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment"
"""Attention over the pyramid as three Triton kernels: forward, and backward by two gathers.

For a node i, its taps k and the sources j that it finds there,

    e_ik = LeakyReLU(el_j + er_i + t_k),  m_i = max_k e_ik,  s_i = Σ_k exp(e_ik − m_i),
    α_ik = exp(e_ik − m_i) / s_i,         h_i = Σ_k α_ik z_j                        (eq. 16–18)

and with g_i, the gradient in h_i, and slope_ik = 1 where e_ik > 0, else 0.2,

    δ_i   = Σ_k α_ik g_i·z_j
    ds_ik = slope_ik α_ik (g_i·z_j − δ_i)
    der_i = Σ_k ds_ik,  dt_k = Σ_i ds_ik       seen from the destination: `as_destination`
    del_j = Σ_i ds_ik,  dz_j = Σ_i α_ik g_i    seen from the source: `as_source`

The neighbourhood is symmetric, so the sums over i are gathers like the others: nothing is
scattered, no two programs write to one place, and a result repeats to the last bit.

How the work lies on the device (:mod:`ngat.engines.cuda.taps` has the tiles and the taps):

* A program serves a tile of nodes of one picture and one head. A thread has one column x, and
  ``ROWS`` rows one below the other. Neighbouring threads have neighbouring columns, so that a warp
  loads and stores runs of a plane's row.
* Weights first, for all taps; then channel after channel nothing but multiply-adds. All lies in
  tuples of one-dimensional tensors, a value per thread: threads never wait for one another.
* The softmax subtracts each node's own maximum, and m and 1/s are passed on separately: m + log s
  would lose the digits of the sum where |m| is large.
* The passes share no more than the inputs: recomputing a weight is cheaper than moving it.
* Sizes and steps are ordinary numbers to the compiler (``do_not_specialize``): one compiled
  kernel serves pictures of all sizes.

What must move at the least, in values per node of one head with D channels: forward reads z, el
and er and writes h, 2 D + 2; backward reads z, el, er and g and writes dz, del and der, 3 D + 4.
With a level above or below, its z and el come on top. `as_source` reads g and z once more and
three values per node that `as_destination` leaves for it, 5 D + 11 in all.
"""

import triton
import triton.language as tl

from ngat.engines.cuda.taps import SLOPE, WARP, locate, own, planes, scores, softmax, tile, value


@triton.jit(do_not_specialize=list(range(23)))
def forward(
    er, king_z, king_el, king_t, child_z, child_el, child_t, parent_z, parent_el, parent_t,
    er_step, king_z_step, king_el_step, child_z_step, child_el_step, parent_z_step, parent_el_step,
    heads, H, W, h, w, out,
    D: tl.constexpr, KING: tl.constexpr, CHILD: tl.constexpr, PARENT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, THREADS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """out = h. H × W is the level's size, h × w that of the level below."""
    TAPS: tl.constexpr = KING + CHILD + PARENT
    y, x = tile(ROWS, COLUMNS, THREADS)
    here, inside = own(y, x, H, W, ROWS)
    e, at = scores(
        er, er_step, king_el, king_el_step, king_t, child_el, child_el_step, child_t,
        parent_el, parent_el_step, parent_t, heads, y, x, here, H, W, h, w,
        KING, CHILD, PARENT, ROWS, EXACT,
    )  # fmt: skip
    alpha = ()
    for r in tl.static_range(ROWS):
        m, share = softmax(e, r, TAPS)
        for k in tl.static_range(TAPS):
            alpha = alpha + (tl.exp(e[r * TAPS + k] - m) * share,)

    above = ((H + 1) // 2) * ((W + 1) // 2)
    king = planes(king_z, king_z_step, heads, D, H * W)
    child = planes(child_z, child_z_step, heads, D, h * w)
    parent = planes(parent_z, parent_z_step, heads, D, above)
    result = out + tl.program_id(2).to(tl.int64) * D * (H * W)
    for _ in range(D):
        sums = ()
        for r in tl.static_range(ROWS):
            h_i = tl.full([THREADS], 0.0, EXACT)
            for k in tl.static_range(TAPS):
                z = value(king, child, parent, at[r * TAPS + k], k, KING, CHILD, EXACT)
                h_i += alpha[r * TAPS + k] * z
            sums = sums + (h_i,)
        for r in tl.static_range(ROWS):
            tl.store(result + here[r], sums[r], mask=inside[r])
        king += H * W
        child += h * w
        parent += above
        result += H * W


@triton.jit(do_not_specialize=list(range(26)))
def as_destination(
    er, king_z, king_el, king_t, child_z, child_el, child_t, parent_z, parent_el, parent_t,
    er_step, king_z_step, king_el_step, child_z_step, child_el_step, parent_z_step, parent_el_step,
    heads, H, W, h, w, g, der, softmaxes, dt,
    D: tl.constexpr, KING: tl.constexpr, CHILD: tl.constexpr, PARENT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, THREADS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """der; m, 1/s and δ for `as_source` in ``softmaxes [3, B, heads, H, W]``; and a part of dt per
    warp, ``[B · heads, tiles, warps, taps]``, which are to be added."""
    TAPS: tl.constexpr = KING + CHILD + PARENT
    y, x = tile(ROWS, COLUMNS, THREADS)
    here, inside = own(y, x, H, W, ROWS)
    e, at = scores(
        er, er_step, king_el, king_el_step, king_t, child_el, child_el_step, child_t,
        parent_el, parent_el_step, parent_t, heads, y, x, here, H, W, h, w,
        KING, CHILD, PARENT, ROWS, EXACT,
    )  # fmt: skip

    dots = ()  # g_i·z_j
    for _ in tl.static_range(ROWS * TAPS):
        dots = dots + (tl.full([THREADS], 0.0, EXACT),)
    above = ((H + 1) // 2) * ((W + 1) // 2)
    king = planes(king_z, king_z_step, heads, D, H * W)
    child = planes(child_z, child_z_step, heads, D, h * w)
    parent = planes(parent_z, parent_z_step, heads, D, above)
    gradient = g + tl.program_id(2).to(tl.int64) * D * (H * W)
    for _ in range(D):
        sums = ()
        for r in tl.static_range(ROWS):
            g_i = tl.load(gradient + here[r]).to(EXACT)
            for k in tl.static_range(TAPS):
                z = value(king, child, parent, at[r * TAPS + k], k, KING, CHILD, EXACT)
                sums = sums + (dots[r * TAPS + k] + g_i * z,)
        dots = sums
        king += H * W
        child += h * w
        parent += above
        gradient += H * W

    plane = tl.program_id(2).to(tl.int64) * (H * W)
    apart = tl.num_programs(2).to(tl.int64) * (H * W)
    ds = ()
    for r in tl.static_range(ROWS):
        m, share = softmax(e, r, TAPS)
        delta = tl.full([THREADS], 0.0, EXACT)
        for k in tl.static_range(TAPS):
            delta += tl.exp(e[r * TAPS + k] - m) * share * dots[r * TAPS + k]
        der_i = tl.full([THREADS], 0.0, EXACT)
        for k in tl.static_range(TAPS):
            alpha = tl.exp(e[r * TAPS + k] - m) * share
            sloped = tl.where(e[r * TAPS + k] > 0, alpha, alpha * SLOPE)
            ds_ik = sloped * (dots[r * TAPS + k] - delta)
            der_i += ds_ik
            ds = ds + (tl.where(inside[r], ds_ik, 0.0),)
        place = plane + here[r]
        tl.store(der + place, der_i, mask=inside[r])
        tl.store(softmaxes + place, m, mask=inside[r])
        tl.store(softmaxes + apart + place, share, mask=inside[r])
        tl.store(softmaxes + 2 * apart + place, delta, mask=inside[r])

    # dt: every warp adds up its own nodes, so that warps need not wait for one another, and its
    # thread k writes the sum of tap k.
    thread = tl.arange(0, THREADS)
    sums = tl.full([THREADS], 0.0, EXACT)
    for k in tl.static_range(TAPS):
        total = ds[k]
        for r in tl.static_range(1, ROWS):
            total += ds[r * TAPS + k]
        by_warp = tl.sum(tl.reshape(total, [THREADS // WARP, WARP]), axis=1, keep_dims=True)
        total = tl.reshape(tl.broadcast_to(by_warp, [THREADS // WARP, WARP]), [THREADS])
        sums = tl.where(thread % WARP == k, total, sums)
    program = tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)
    program = (program * tl.num_programs(0) + tl.program_id(0)).to(tl.int64)
    part = dt + (program * (THREADS // WARP) + thread // WARP) * TAPS
    tl.store(part + thread % WARP, sums, mask=thread % WARP < TAPS)


@triton.jit(do_not_specialize=list(range(16)))
def as_source(
    z, el, t, er, z_step, el_step, er_step, heads, h, w, H, W, g, softmaxes, dz, del_,
    D: tl.constexpr, RELATION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, THREADS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """dz and del of one relation's sources (h × w), attended to by nodes of a level of H × W.

    Who attends to j? Through king tap k, the node at j's own tap 8 − k; as a child, j's parent;
    as a parent, j's children.
    """
    RECEIVERS: tl.constexpr = 9 if RELATION == "king" else 4 if RELATION == "parent" else 1
    y, x = tile(ROWS, COLUMNS, THREADS)
    here, inside = own(y, x, h, w, ROWS)
    head = tl.program_id(2) % heads
    plane = tl.program_id(2).to(tl.int64) * (H * W)
    apart = tl.num_programs(2).to(tl.int64) * (H * W)
    er = planes(er, er_step, heads, 1, H * W)
    el = planes(el, el_step, heads, 1, h * w)
    alpha, sloped, at, del_j = (), (), (), ()
    for r in tl.static_range(ROWS):
        el_j = tl.load(el + here[r]).to(EXACT)
        rest = tl.full([THREADS], 0.0, EXACT)
        for k in tl.static_range(RECEIVERS):
            if RELATION == "king":
                place, there = locate(y, x, H, W, "king", k, r)
                t_k = tl.load(t + head * 9 + (8 - k))
            elif RELATION == "child":
                place, there = locate(y, x, H, W, "parent", 0, r)
                t_k = tl.load(t + head * 4 + (y + r) % 2 * 2 + x % 2)
            else:
                place, there = locate(y, x, H, W, "child", k, r)
                t_k = tl.load(t + head)
            s = el_j + tl.load(er + place).to(EXACT) + t_k.to(EXACT)
            m = tl.load(softmaxes + plane + place)
            share = tl.load(softmaxes + apart + plane + place)
            delta = tl.load(softmaxes + 2 * apart + plane + place)
            # Where the tap exists, no score exceeds m; elsewhere this must not overflow.
            a = tl.exp(tl.minimum(tl.maximum(s, s * SLOPE) - m, 0.0)) * share
            a = tl.where(there, a, 0.0)
            b = tl.where(s > 0, a, a * SLOPE)
            rest += b * delta
            alpha, sloped, at = alpha + (a,), sloped + (b,), at + (place,)
        del_j = del_j + (-rest,)

    source = planes(z, z_step, heads, D, h * w)
    result = dz + tl.program_id(2).to(tl.int64) * D * (h * w)
    gradient = g + plane * D
    for _ in range(D):
        sums, dels = (), ()
        for r in tl.static_range(ROWS):
            dz_j = tl.full([THREADS], 0.0, EXACT)
            b_g = tl.full([THREADS], 0.0, EXACT)  # Σ slope α g; its product with z is in del
            for k in tl.static_range(RECEIVERS):
                g_i = tl.load(gradient + at[r * RECEIVERS + k]).to(EXACT)
                dz_j += alpha[r * RECEIVERS + k] * g_i
                b_g += sloped[r * RECEIVERS + k] * g_i
            sums = sums + (dz_j,)
            dels = dels + (del_j[r] + b_g * tl.load(source + here[r]).to(EXACT),)
        for r in tl.static_range(ROWS):
            tl.store(result + here[r], sums[r], mask=inside[r])
        del_j = dels
        source += h * w
        result += h * w
        gradient += H * W
    result = del_ + tl.program_id(2).to(tl.int64) * (h * w)
    for r in tl.static_range(ROWS):
        tl.store(result + here[r], del_j[r], mask=inside[r])
