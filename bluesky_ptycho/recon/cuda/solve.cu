/* The solver's array operations on the GPU, a chunk of frames at once.

   Each kernel does what the function of its name in recon/reference.py does, which the tests compare it with, and
   what lies around it: object windows are read where they lie, and their sums are added where they belong.
   device_engine.py calls them.

   Plain C with the names of CUDA, no header: NVRTC compiles it on the machine that runs it, and a C++ compiler
   compiles it for the tests that need no card. No thread waits for another. Sums over pixels are made in parts, each
   thread its own, which xp.sum adds up: always in the same order. Sums over frames that overlap take
   atomicAdd, or for the object, where that is faster, a thread for each of its pixels.

   Arrays lie in C order: waves (frame, mode, y, x), probes the same or (mode, y, x) shared by all frames, the object
   (row, column). slots: of each frame of the chunk, its row in what is kept of all; corners: the windows' first pixels
   (slot, 2). Grids extend along x alone, where CUDA allows 2^31 blocks. */

#define INVALID 65535       /* counts of a pixel that is not valid; store.py */
#define ROOT_UNIT (1.0f / 255.0f) /* of weights, which are stored by their roots; store.py */
#define TINY 1e-9f          /* reference.py */
#define POISSON_FLOOR 0.02f /* reference.py */
#define RIDGE 1e-3          /* reference.py */
#define TAPS 8              /* subpixel.py: filters along y and x, the first of their taps at -3 */
#define TILE_ROWS 8         /* of the object, as many pixels as a block has threads */
#define TILE_COLUMNS 32
#define STRIP 8             /* rows that a thread shifts, as wide as the filter that rolls over them */

struct alignas(8) Complex {
    float x, y;
};

/* A chunk; device_kernels.py fills it, field by field. */
struct Work {
    int frames, modes, ny, nx;
    int rows, columns;           /* of the object */
    int own_probes, own_changes; /* 0 where all frames share the probe, or the change of it */
    int parts;                   /* threads that share the sums of a frame */
};

/* What is known of the detector, likewise. */
struct Model {
    int poisson, has_weights, has_background;
    float strength; /* part of the way to the data */
    float scale;    /* normalises the waves at the detector */
    float back;     /* for the way back */
};

/* A row for what is stored and one for what goes on: of stored, projected and shared waves. */
struct Mixture {
    float keep[3], give[3];
};

/* What a thread works on: a frame of the chunk and one of its pixels, strips or parts. */
struct Place {
    int frame, item;
};

/* Threads are dealt to frames in whole blocks. */
__device__ Place place_of(int items)
{
    unsigned blocks = (items + blockDim.x - 1) / blockDim.x;
    return {(int)(blockIdx.x / blocks), (int)(blockIdx.x % blocks * blockDim.x + threadIdx.x)};
}

__device__ Complex product(Complex a, Complex b) { return {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x}; }

/* conj(a) b */
__device__ Complex overlap(Complex a, Complex b) { return {a.x * b.x + a.y * b.y, a.x * b.y - a.y * b.x}; }

__device__ Complex sum(Complex a, Complex b) { return {a.x + b.x, a.y + b.y}; }

__device__ Complex difference(Complex a, Complex b) { return {a.x - b.x, a.y - b.y}; }

__device__ Complex scaled(float factor, Complex a) { return {factor * a.x, factor * a.y}; }

__device__ float real_overlap(Complex a, Complex b) { return a.x * b.x + a.y * b.y; }

__device__ float norm(Complex a) { return a.x * a.x + a.y * a.y; }

/* Where the first mode of a frame begins in waves, or in probes of its own or shared. */
__device__ size_t start_of(const Work &work, int frame) { return (size_t)frame * work.modes * work.ny * work.nx; }

/* Where a pixel of a window that begins at (row, column) lies in the object. */
__device__ size_t under(const Work &work, int row, int column, int pixel)
{
    return (size_t)(row + pixel / work.nx) * work.columns + column + pixel % work.nx;
}

__device__ size_t under(const Work &work, const int *corners, int slot, int pixel)
{
    return under(work, corners[2 * slot], corners[2 * slot + 1], pixel);
}

/* Filter a strip of one column of a plane (ny, nx) along both axes and add it to out. first: how much further on than
   its own the first pixel is that a filter takes. Taps lie along y, then along x; they are read backwards by step -1. */
__device__ void add_shifted(
    const Complex *plane, int ny, int nx, const float *taps, int step, int first, int y, int x, Complex *out)
{
    Complex rolling[TAPS]; /* rows filtered along x, the last at [0] */
    const float *down = step > 0 ? taps : taps + TAPS - 1, *across = down + TAPS;
#pragma unroll
    for (int k = 0; k < TAPS; k++)
        rolling[k] = {0.0f, 0.0f};
#pragma unroll
    for (int i = 1 - TAPS; i < STRIP; i++) {
        int row = y + first + i;
        Complex filtered = {0.0f, 0.0f};
        if (row >= 0 && row < ny)
#pragma unroll
            for (int k = 0; k < TAPS; k++) {
                int column = x + first - k;
                if (column >= 0 && column < nx)
                    filtered = sum(filtered, scaled(across[k * step], plane[row * nx + column]));
            }
#pragma unroll
        for (int k = TAPS - 1; k > 0; k--)
            rolling[k] = rolling[k - 1];
        rolling[0] = filtered;
        if (i >= 0)
#pragma unroll
            for (int k = 0; k < TAPS; k++)
                out[i] = sum(out[i], scaled(down[k * step], rolling[k]));
    }
}

/* Probes as they meet each frame. taps: (slot, 2, TAPS); fractional: (slot), whether they matter; probe: of each frame
   or shared. A thread has a strip of one column of one mode. */
extern "C" __global__ void shift_probe(
    Work work, const int *slots, const float *taps, const bool *fractional, const Complex *probe, Complex *out)
{
    int strips = (work.ny + STRIP - 1) / STRIP;
    Place place = place_of(work.modes * strips * work.nx);
    int x = place.item % work.nx, y = place.item / work.nx % strips * STRIP, mode = place.item / work.nx / strips;
    if (mode >= work.modes)
        return;
    int slot = slots[place.frame];
    const Complex *plane =
        probe + (work.own_probes ? start_of(work, place.frame) : 0) + (size_t)mode * work.ny * work.nx;
    out += start_of(work, place.frame) + (size_t)mode * work.ny * work.nx;
    Complex strip[STRIP] = {};
    if (fractional[slot])
        add_shifted(plane, work.ny, work.nx, taps + (size_t)slot * 2 * TAPS, 1, 3, y, x, strip);
#pragma unroll
    for (int i = 0; i < STRIP; i++)
        if (y + i < work.ny)
            out[(y + i) * work.nx + x] = fractional[slot] ? strip[i] : plane[(y + i) * work.nx + x];
}

/* Probe times object window. */
extern "C" __global__ void exit_waves(
    Work work, const int *slots, const int *corners, const Complex *probes, const Complex *image, Complex *waves)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(pixels);
    if (place.item >= pixels)
        return;
    Complex object = image[under(work, corners, slots[place.frame], place.item)];
    probes += (work.own_probes ? start_of(work, place.frame) : 0) + place.item;
    waves += start_of(work, place.frame) + place.item;
    for (int m = 0; m < work.modes; m++)
        waves[(size_t)m * pixels] = product(probes[(size_t)m * pixels], object);
}

/* What directions of object and probe do to the exit waves: P dO + dP O. */
extern "C" __global__ void exit_changes(
    Work work, const int *slots, const int *corners, const Complex *probes, const Complex *changes,
    const Complex *image, const Complex *image_change, Complex *waves)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(pixels);
    if (place.item >= pixels)
        return;
    size_t at = under(work, corners, slots[place.frame], place.item), start = start_of(work, place.frame);
    Complex object = image[at], change = image_change[at];
    probes += (work.own_probes ? start : 0) + place.item;
    changes += (work.own_changes ? start : 0) + place.item;
    waves += start + place.item;
    for (size_t m = 0; m < (size_t)work.modes * pixels; m += pixels)
        waves[m] = sum(product(probes[m], change), product(changes[m], object));
}

/* of_product * P O + of_stored * stored; stored: of all slots. */
extern "C" __global__ void blend(
    Work work, const int *slots, const int *corners, const Complex *probes, const Complex *image,
    const Complex *stored, float of_product, float of_stored, Complex *waves)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(pixels);
    if (place.item >= pixels)
        return;
    int slot = slots[place.frame];
    Complex object = image[under(work, corners, slot, place.item)];
    probes += (work.own_probes ? start_of(work, place.frame) : 0) + place.item;
    stored += start_of(work, slot) + place.item;
    waves += start_of(work, place.frame) + place.item;
    for (size_t m = 0; m < (size_t)work.modes * pixels; m += pixels)
        waves[m] = sum(scaled(of_product, product(probes[m], object)), scaled(of_stored, stored[m]));
}

/* Both stored waves and waves become mixtures of themselves and P O. */
extern "C" __global__ void relay(
    Work work, Mixture mixture, const int *slots, const int *corners, const Complex *probes, const Complex *image,
    Complex *stored, Complex *waves)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(pixels);
    if (place.item >= pixels)
        return;
    int slot = slots[place.frame];
    Complex object = image[under(work, corners, slot, place.item)];
    probes += (work.own_probes ? start_of(work, place.frame) : 0) + place.item;
    stored += start_of(work, slot) + place.item;
    waves += start_of(work, place.frame) + place.item;
    const float *keep = mixture.keep, *give = mixture.give;
    for (size_t m = 0; m < (size_t)work.modes * pixels; m += pixels) {
        Complex s = stored[m], w = waves[m], p = product(probes[m], object);
        stored[m] = sum(sum(scaled(keep[0], s), scaled(keep[1], w)), scaled(keep[2], p));
        waves[m] = sum(sum(scaled(give[0], s), scaled(give[1], w)), scaled(give[2], p));
    }
}

/* Sum over modes of |far|^2; far: the first mode of the pixel. */
__device__ float intensity_of(const Work &work, const Complex *far)
{
    float total = 0.0f;
    for (int m = 0; m < work.modes; m++)
        total += norm(far[(size_t)m * work.ny * work.nx]);
    return total;
}

/* Waves at the detector take the measured amplitude; the plain case, without Model's extras.
   counts: (slot, y, x); unit: (slot), amplitude of one count; errors: (frame, part). */
extern "C" __global__ void project_modulus(
    Work work, Model model, const int *slots, const unsigned short *counts, const float *unit, Complex *far,
    float *errors)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(work.parts);
    if (place.item >= work.parts)
        return;
    int slot = slots[place.frame];
    float error = 0.0f, size = unit[slot];
    counts += (size_t)slot * pixels;
    far += start_of(work, place.frame);
    for (int i = place.item; i < pixels; i += work.parts) {
        int count = counts[i];
        float modulus = sqrtf(intensity_of(work, far + i)) * model.scale, wanted = (float)count * size;
        float factor = model.back;
        if (count != INVALID) {
            error += (wanted - modulus) * (wanted - modulus);
            factor *= wanted / (modulus + TINY);
        }
        for (int m = 0; m < work.modes; m++)
            far[(size_t)m * pixels + i] = scaled(factor, far[(size_t)m * pixels + i]);
    }
    errors[(size_t)place.frame * work.parts + place.item] = error;
}

__device__ float weight_of(unsigned char root) { return ROOT_UNIT * root * (ROOT_UNIT * root); }

/* The same with noise model, strength, weights (slot, y, x) and background (y, x), which is that of a frame of brightness
   (slot) 1; the last two where Model says so. sums: (error, overlap, power; frame, part). */
extern "C" __global__ void project_model(
    Work work, Model model, const int *slots, const unsigned short *counts, const float *unit,
    const float *brightness, const unsigned char *weights, const float *background, Complex *far, float *sums)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(work.parts);
    if (place.item >= work.parts)
        return;
    int slot = slots[place.frame];
    float error = 0.0f, product_sum = 0.0f, power = 0.0f, size = unit[slot], dim = brightness[slot];
    counts += (size_t)slot * pixels;
    weights += model.has_weights ? (size_t)slot * pixels : 0;
    far += start_of(work, place.frame);
    for (int i = place.item; i < pixels; i += work.parts) {
        float intensity = intensity_of(work, far + i) * model.scale * model.scale;
        if (model.has_background)
            intensity += background[i] * dim;
        float modulus = sqrtf(intensity), wanted = (float)counts[i] * size, ratio = wanted / (modulus + TINY);
        float weight = counts[i] == INVALID ? 0.0f : model.has_weights ? weight_of(weights[i]) : 1.0f;
        if (model.poisson) {
            float wish = 1.0f + (wanted * wanted - intensity) / (2.0f * intensity + POISSON_FLOOR);
            ratio = min(wish, max(1.0f, 2.0f * ratio));
        }
        error += weight * (wanted - modulus) * (wanted - modulus);
        product_sum += weight * wanted * modulus;
        power += weight * intensity;
        float factor = (1.0f + model.strength * weight * (ratio - 1.0f)) * model.back;
        for (int m = 0; m < work.modes; m++)
            far[(size_t)m * pixels + i] = scaled(factor, far[(size_t)m * pixels + i]);
    }
    size_t to = (size_t)place.frame * work.parts + place.item, n = (size_t)work.frames * work.parts;
    sums[to] = error;
    sums[n + to] = product_sum;
    sums[2 * n + to] = power;
}

/* The misfit's curvature as waves at the detector move by change; arguments as above. sums: (frame, part). */
extern "C" __global__ void curvature(
    Work work, Model model, const int *slots, const unsigned short *counts, const float *unit,
    const float *brightness, const unsigned char *weights, const float *background, const Complex *far,
    const Complex *change, float *sums)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(work.parts);
    if (place.item >= work.parts)
        return;
    int slot = slots[place.frame];
    float total = 0.0f, size = unit[slot], dim = brightness[slot];
    counts += (size_t)slot * pixels;
    weights += model.has_weights ? (size_t)slot * pixels : 0;
    far += start_of(work, place.frame);
    change += start_of(work, place.frame);
    for (int i = place.item; i < pixels; i += work.parts) {
        float intensity = intensity_of(work, far + i) * model.scale * model.scale, along = 0.0f;
        for (int m = 0; m < work.modes; m++)
            along += real_overlap(far[(size_t)m * pixels + i], change[(size_t)m * pixels + i]);
        along *= model.scale * model.scale;
        if (model.has_background)
            intensity += background[i] * dim;
        float weight = counts[i] == INVALID ? 0.0f : model.has_weights ? weight_of(weights[i]) : 1.0f;
        float wanted = (float)counts[i] * size;
        if (model.poisson)
            weight *= 0.5f * (1.0f + wanted * wanted / (intensity + 0.5f * POISSON_FLOOR));
        total += weight * along * along / (intensity + TINY);
    }
    sums[(size_t)place.frame * work.parts + place.item] = total;
}

/* What waves ask of object and probe. The object's part is added to gradient and illumination (row, column); the
   probe's, not yet shifted back, takes the waves' place. Each frame's pixels add what they ask by atomicAdd;
   object_gradients and probe_wishes together do the same without. */
extern "C" __global__ void pie_gradients(
    Work work, const int *slots, const int *corners, const Complex *probes, const Complex *image, Complex *waves,
    Complex *gradient, float *illumination)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(pixels);
    if (place.item >= pixels)
        return;
    size_t at = under(work, corners, slots[place.frame], place.item);
    Complex object = image[at], wish = {0.0f, 0.0f};
    float light = 0.0f;
    probes += (work.own_probes ? start_of(work, place.frame) : 0) + place.item;
    waves += start_of(work, place.frame) + place.item;
    for (size_t m = 0; m < (size_t)work.modes * pixels; m += pixels) {
        Complex probe = probes[m], change = difference(waves[m], product(probe, object));
        wish = sum(wish, overlap(probe, change));
        light += norm(probe);
        waves[m] = overlap(object, change);
    }
    atomicAdd(&gradient[at].x, wish.x);
    atomicAdd(&gradient[at].y, wish.y);
    atomicAdd(&illumination[at], light);
}

/* Where the tile with this number begins: its row; its column goes to *column. */
__device__ int tile_begins(const Work &work, int tile, int *column)
{
    int across = (work.columns + TILE_COLUMNS - 1) / TILE_COLUMNS;
    *column = tile % across * TILE_COLUMNS;
    return tile / across * TILE_ROWS;
}

__device__ bool meets(const Work &work, const int *corner, int row, int column)
{
    return corner[0] < row + TILE_ROWS && corner[0] + work.ny > row && corner[1] < column + TILE_COLUMNS &&
           corner[1] + work.nx > column;
}

/* How many windows of the chunk meet each tile of the object; a thread has a tile. */
extern "C" __global__ void count_windows(Work work, int tiles, const int *slots, const int *corners, int *counts)
{
    int tile = place_of(tiles).item, column;
    if (tile >= tiles)
        return;
    int row = tile_begins(work, tile, &column), count = 0;
    for (int frame = 0; frame < work.frames; frame++)
        count += meets(work, corners + 2 * slots[frame], row, column);
    counts[tile] = count;
}

/* Which: their frames in the chunk's order, for each tile those before ends[tile]. */
extern "C" __global__ void list_windows(
    Work work, int tiles, const int *slots, const int *corners, const int *counts, const int *ends, int *listed)
{
    int tile = place_of(tiles).item, column;
    if (tile >= tiles)
        return;
    int row = tile_begins(work, tile, &column), at = ends[tile] - counts[tile];
    for (int frame = 0; frame < work.frames; frame++)
        if (meets(work, corners + 2 * slots[frame], row, column))
            listed[at++] = frame;
}

/* What waves ask of the object, added to gradient and illumination (row, column). A thread has a pixel of a tile and
   adds up what the windows over it ask, always in the same order. */
extern "C" __global__ void object_gradients(
    Work work, const int *slots, const int *corners, const int *counts, const int *ends, const int *listed,
    const Complex *probes, const Complex *image, const Complex *waves, Complex *gradient, float *illumination)
{
    Place place = place_of(TILE_ROWS * TILE_COLUMNS);
    int column, row = tile_begins(work, place.frame, &column), pixels = work.ny * work.nx;
    row += place.item / TILE_COLUMNS;
    column += place.item % TILE_COLUMNS;
    if (place.item >= TILE_ROWS * TILE_COLUMNS || row >= work.rows || column >= work.columns)
        return;
    size_t at = (size_t)row * work.columns + column;
    Complex object = image[at], wish = {0.0f, 0.0f};
    float light = 0.0f;
    for (int i = ends[place.frame] - counts[place.frame]; i < ends[place.frame]; i++) {
        int frame = listed[i], y = row - corners[2 * slots[frame]], x = column - corners[2 * slots[frame] + 1];
        if (y < 0 || y >= work.ny || x < 0 || x >= work.nx)
            continue;
        size_t start = start_of(work, frame), pixel = (size_t)y * work.nx + x;
        const Complex *probe = probes + (work.own_probes ? start : 0) + pixel, *wave = waves + start + pixel;
        for (size_t m = 0; m < (size_t)work.modes * pixels; m += pixels) {
            wish = sum(wish, overlap(probe[m], difference(wave[m], product(probe[m], object))));
            light += norm(probe[m]);
        }
    }
    gradient[at] = sum(gradient[at], wish);
    illumination[at] += light;
}

/* What waves ask of the probe, not yet shifted back, takes their place. */
extern "C" __global__ void probe_wishes(
    Work work, const int *slots, const int *corners, const Complex *probes, const Complex *image, Complex *waves)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(pixels);
    if (place.item >= pixels)
        return;
    Complex object = image[under(work, corners, slots[place.frame], place.item)];
    probes += (work.own_probes ? start_of(work, place.frame) : 0) + place.item;
    waves += start_of(work, place.frame) + place.item;
    for (size_t m = 0; m < (size_t)work.modes * pixels; m += pixels)
        waves[m] = overlap(object, difference(waves[m], product(probes[m], object)));
}

/* Shift the frames' probe gradients back and add them, and the windows' |O|^2, to gradient (mode, y, x) and
   transmission (y, x). A thread has a strip of one column of one mode, and each group's-th frame. */
extern "C" __global__ void probe_gradients(
    Work work, int groups, const int *slots, const int *corners, const float *taps, const bool *fractional,
    const Complex *image, const Complex *wishes, Complex *gradient, float *transmission)
{
    int strips = (work.ny + STRIP - 1) / STRIP, pixels = work.ny * work.nx;
    Place place = place_of(work.modes * strips * work.nx);
    int x = place.item % work.nx, y = place.item / work.nx % strips * STRIP, mode = place.item / work.nx / strips;
    if (mode >= work.modes)
        return;
    Complex strip[STRIP] = {};
    float passed[STRIP] = {};
    for (int frame = place.frame; frame < work.frames; frame += groups) {
        int slot = slots[frame];
        const Complex *plane = wishes + start_of(work, frame) + (size_t)mode * pixels;
        if (fractional[slot]) /* the adjoint of a filter is the filter reversed */
            add_shifted(plane, work.ny, work.nx, taps + (size_t)slot * 2 * TAPS, -1, 4, y, x, strip);
#pragma unroll
        for (int i = 0; i < STRIP; i++) {
            int pixel = (y + i) * work.nx + x;
            if (y + i < work.ny && !fractional[slot])
                strip[i] = sum(strip[i], plane[pixel]);
            if (y + i < work.ny && mode == 0)
                passed[i] += norm(image[under(work, corners, slot, pixel)]);
        }
    }
#pragma unroll
    for (int i = 0; i < STRIP; i++) {
        int pixel = (y + i) * work.nx + x;
        if (y + i >= work.ny)
            continue;
        atomicAdd(&gradient[(size_t)mode * pixels + pixel].x, strip[i].x);
        atomicAdd(&gradient[(size_t)mode * pixels + pixel].y, strip[i].y);
        if (mode == 0)
            atomicAdd(&transmission[pixel], passed[i]);
    }
}

/* Re <P dO, dP O>; sums: (frame, part). */
extern "C" __global__ void couple(
    Work work, const int *slots, const int *corners, const Complex *probes, const Complex *changes,
    const Complex *image, const Complex *image_change, float *sums)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(work.parts);
    if (place.item >= work.parts)
        return;
    size_t start = start_of(work, place.frame);
    probes += work.own_probes ? start : 0;
    changes += work.own_changes ? start : 0;
    float total = 0.0f;
    for (int i = place.item; i < pixels; i += work.parts) {
        size_t at = under(work, corners, slots[place.frame], i);
        Complex object = image[at], change = image_change[at];
        for (size_t m = i; m < (size_t)work.modes * pixels; m += pixels)
            total += real_overlap(product(probes[m], change), product(changes[m], object));
    }
    sums[(size_t)place.frame * work.parts + place.item] = total;
}

/* What changed exit waves ask of the positions: slope and weight along y, then along x. sums: (4; frame, part).
   At the rim of the object a window's neighbour is the window itself. */
extern "C" __global__ void shift_sums(
    Work work, const int *slots, const int *corners, const Complex *probes, const Complex *image,
    const Complex *waves, float *sums)
{
    int pixels = work.ny * work.nx;
    Place place = place_of(work.parts);
    if (place.item >= work.parts)
        return;
    int slot = slots[place.frame], row = corners[2 * slot], column = corners[2 * slot + 1];
    int above = max(row - 1, 0), below = min(row + 1, work.rows - work.ny);
    int left = max(column - 1, 0), right = min(column + 1, work.columns - work.nx);
    float total[4] = {};
    probes += work.own_probes ? start_of(work, place.frame) : 0;
    waves += start_of(work, place.frame);
    for (int i = place.item; i < pixels; i += work.parts) {
        Complex object = image[under(work, row, column, i)];
        Complex down = difference(image[under(work, below, column, i)], image[under(work, above, column, i)]);
        Complex across = difference(image[under(work, row, right, i)], image[under(work, row, left, i)]);
        for (size_t m = i; m < (size_t)work.modes * pixels; m += pixels) {
            Complex probe = scaled(0.5f, probes[m]), change = difference(waves[m], product(probes[m], object));
            Complex moved_y = product(probe, down), moved_x = product(probe, across);
            total[0] += real_overlap(moved_y, change);
            total[1] += norm(moved_y);
            total[2] += real_overlap(moved_x, change);
            total[3] += norm(moved_x);
        }
    }
    for (int k = 0; k < 4; k++)
        sums[((size_t)k * work.frames + place.frame) * work.parts + place.item] = total[k];
}

/* gradient (mode, pixel) over weight (pixel), regularised by the peak of the weight. sums: (slope, curvature; part) */
extern "C" __global__ void direction(
    int modes, int pixels, int parts, float regularisation, const float *peak, const Complex *gradient,
    const float *weight, Complex *out, float *sums)
{
    int part = place_of(parts).item;
    if (part >= parts)
        return;
    float floor = regularisation * peak[0] + TINY, slope = 0.0f, curvature = 0.0f;
    for (int i = part; i < pixels; i += parts) {
        float light = weight[i], share = 1.0f / ((1.0f - regularisation) * light + floor);
        for (int m = 0; m < modes; m++) {
            size_t at = (size_t)m * pixels + i;
            Complex along = scaled(share, gradient[at]);
            out[at] = along;
            slope += real_overlap(gradient[at], along);
            curvature += light * norm(along);
        }
    }
    sums[part] = slope;
    sums[parts + part] = curvature;
}

/* The steps of object and probe that serve the waves best, share of them and at most most; one thread's work. coupling
   is not read where the probe is held. */
extern "C" __global__ void best_steps(
    int probe_free, double share, double most, const double *object_slope, const double *object_curvature,
    const double *probe_slope, const double *probe_curvature, const double *coupling, float *steps)
{
    if (place_of(1).item > 0)
        return;
    double n_o = *object_slope, n_p = *probe_slope, c = probe_free ? *coupling : 0.0;
    double d_o = (1.0 + RIDGE) * *object_curvature, d_p = probe_free ? (1.0 + RIDGE) * *probe_curvature : 0.0;
    double determinant = d_o * d_p - c * c;
    bool both_move = d_o > 0.0 && d_p > 0.0;
    double part = both_move ? 0.5 : 1.0;
    double object = d_o > 0.0 ? part * n_o / d_o : 0.0, probe = d_p > 0.0 ? part * n_p / d_p : 0.0;
    if (both_move && determinant > 0.0) {
        object = max((d_p * n_o - c * n_p) / determinant, 0.0);
        probe = max((d_o * n_p - c * n_o) / determinant, 0.0);
    }
    steps[0] = (float)min(share * object, most);
    steps[1] = (float)min(share * probe, most);
}

/* A step with Nesterov's momentum, in place, by factor times what lies at step. */
extern "C" __global__ void advance(
    int n, float factor, const float *step, float momentum, const Complex *found, Complex *velocity, Complex *target)
{
    int i = place_of(n).item;
    if (i >= n)
        return;
    Complex wish = scaled(factor * step[0], found[i]);
    Complex speed = sum(scaled(momentum, velocity[i]), wish);
    velocity[i] = speed;
    target[i] = sum(target[i], sum(scaled(momentum, speed), wish));
}
