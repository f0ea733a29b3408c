/* The fused FCCD chain on the GPU: preset "cosmic" from raw words to solver pixels.

   The same as the steps "descramble" to "orient" of preprocess/steps.py, overscan.py and single_photons.py,
   which the tests compare it with. The kernels in their order: read_overscan, find_background,
   make_image, count_cells, sum_wide and count_singles where each pixel has its own threshold, sum_boxes. No thread waits
   for another: what needs the result of others is the next kernel's.

   Plain C with the names of CUDA, no header: NVRTC compiles it on the machine that runs it, and a C++
   compiler compiles it for the tests that need no card. Compile without fused multiply-add
   (--fmad=false), or a pixel that lies on the threshold may fall on its other side.

   Arrays lie in C order. blockIdx.y counts frames, from make_image on scan points; a frame is one exposure of a
   scan point. "where" arrays hold the place of a pixel's word in the raw frame, so that only they know of wire
   order, late channels and the layout of the halves. */

#define ADC_MASK 0x1FFF /* bits 12..0 of a word; all of them set means saturated, more a lost packet or foreign gain */
#define LOST 3.0e38f    /* in the place of ADU or photons that nobody knows */

enum { GOOD, SATURATED, DAMAGED, BAD }; /* state of a pixel, from good to worse; BAD is known from the darks */

/* What does not change during a run; gpu.py fills it, field by field. */
struct Run {
    int words;             /* of a raw frame */
    int rows, columns;     /* of the image */
    int channels;          /* next to each other across a half */
    int exposures, times;  /* frames of a scan point; different times among them */
    int gain_bits;         /* what good words have in bits 15 to 13 */
    int window;            /* rows of the running median, odd */
    int down, across;      /* solver pixels along rows and columns of the image */
    int binning;           /* raw pixels per side of one */
    int first_row, first_column; /* of the window in the image; may lie outside */
    int has_factor;        /* whether there is a factor for each pixel of the image */
    float worst;           /* largest noise of a raw pixel, see merge_pixel */
    float single;          /* what a photon of one of the longest exposures makes of the image */
    float photons_per_adu;
    float floor;           /* photons; less than that in a raw pixel becomes 0 */
};

/* How single photons are counted where each pixel has its own threshold: single_photons.py says why. What has a
   unit is in photons. gpu.py fills it, field by field. */
struct Singles {
    int cell;              /* pixels along each side of a cell, which has one threshold; whole ones make the image */
    int last;              /* index of the last worth */
    int near, wide;        /* cells on each side that tell the light, and that lend to those with few photons */
    float first_threshold; /* with which the light is estimated */
    float first_worth;     /* of a single photon at that threshold */
    float first_false;     /* what noise gives there, for each pixel */
    float single;          /* less than that is one photon */
    float variance;        /* of the read noise */
    float borrowed;        /* what the wide surrounding lends */
    float darkest;         /* least light, for each pixel */
    float lowest, highest; /* thresholds: those of the first and the last worth */
};

__device__ int this_thread() { return (int)(blockIdx.x * blockDim.x + threadIdx.x); }

/* Overscan of each row and channel: the lesser of the two slots, (frame, row, channel).
   where: (slot, row, channel); dark: (exposure, slot, row, channel), NaN where bad. */
extern "C" __global__ void read_overscan(
    Run run, const unsigned short *raw, const int *where, const float *dark, float *lesser)
{
    int n = run.rows * run.channels, i = this_thread(), frame = blockIdx.y;
    if (i >= n)
        return;
    raw += (size_t)frame * run.words;
    dark += (size_t)(frame % run.exposures) * 2 * n;
    float slots[2];
    for (int s = 0; s < 2; s++) {
        int word = raw[where[s * n + i]] ^ run.gain_bits;
        float zero = dark[s * n + i];
        slots[s] = word >= ADC_MASK || zero != zero ? LOST : (float)word - zero;
    }
    lesser[(size_t)frame * n + i] = slots[0] < slots[1] ? slots[0] : slots[1];
}

/* Background of each row and channel, (frame, row, channel): running median over the rows of the half, clamped,
   bias (exposure, half, channel) taken off. At both ends the last whole window serves. LOST where a window has nothing. */
extern "C" __global__ void find_background(
    Run run, float low, float high, const float *lesser, const float *bias, float *background)
{
    int i = this_thread(), n_rows = run.rows / 2, frame = blockIdx.y;
    if (i >= run.rows * run.channels)
        return;
    int row = i / run.channels, channel = i % run.channels, half = row / n_rows;
    int first = min(max(row - half * n_rows - run.window / 2, 0), n_rows - run.window);
    const float *window = lesser + ((size_t)frame * run.rows + half * n_rows + first) * run.channels + channel;
    int known = 0;
    for (int r = 0; r < run.window; r++)
        known += window[r * run.channels] < LOST;
    float *to = background + (size_t)frame * run.rows * run.channels + i;
    if (known == 0) {
        *to = LOST;
        return;
    }
    float lower = 0.0f, upper = 0.0f; /* the two in the middle, or the one twice */
    for (int r = 0; r < run.window; r++) {
        float mine = window[r * run.channels];
        int rank = 0;
        for (int s = 0; s < run.window; s++) {
            float value = window[s * run.channels];
            rank += value < mine || (value == mine && s < r);
        }
        if (rank == (known - 1) / 2)
            lower = mine;
        if (rank == known / 2)
            upper = mine;
    }
    float median = 0.5f * (lower + upper);
    median = median < low ? low : median > high ? high : median;
    *to = median - bias[((size_t)(frame % run.exposures) * 2 + half) * run.channels + channel];
}

/* The frames of one scan point and what belongs to them; dark and background: (exposure, row, column or channel). */
struct Point {
    const unsigned short *raw;
    const int *where;
    const float *dark, *background;
};

__device__ int word_at(const Run &run, const Point &point, int exposure, int y, int x)
{
    return point.raw[(size_t)exposure * run.words + point.where[y * run.columns + x]] ^ run.gain_bits;
}

/* Saturated spots grow by one pixel on all sides: their neighbours hold spilt charge. */
__device__ bool saturated_near(const Run &run, const Point &point, int exposure, int y, int x)
{
    for (int near_y = max(y - 1, 0); near_y < min(y + 2, run.rows); near_y++)
        for (int near_x = max(x - 1, 0); near_x < min(x + 2, run.columns); near_x++)
            if (word_at(run, point, exposure, near_y, near_x) == ADC_MASK)
                return true;
    return false;
}

/* State of a pixel in one exposure; its ADU where it is GOOD. */
__device__ int read_pixel(const Run &run, const Point &point, int exposure, int y, int x, float *adu)
{
    int row = exposure * run.rows + y;
    float zero = point.dark[(size_t)row * run.columns + x];
    float level = point.background[(size_t)row * run.channels + x / (run.columns / run.channels)];
    int word = word_at(run, point, exposure, y, x);
    if (zero != zero)
        return BAD;
    if (word > ADC_MASK || level == LOST)
        return DAMAGED;
    if (saturated_near(run, point, exposure, y, x))
        return SATURATED;
    *adu = ((float)word - zero) - level;
    return GOOD;
}

/* State of a pixel over all exposures; where it is GOOD, the ADU of the longest valid time, repeats averaged, in
   units of the longest time. Shorter times are looked at only where longer ones have nothing. The best state of
   all is that of the result; the value of a pixel that is not GOOD never gets further than this. noise: the variance
   over that of as many photons in all repeats of the longest time.
   order: (time, exposures), longest time first, -1 behind the exposures of a time; factors: longest over each time. */
__device__ int merge_pixel(
    const Run &run, const Point &point, const int *order, const float *factors, int y, int x, float *adu, float *noise)
{
    int best = BAD;
    float repeats = 0.0f;
    bool bright = false; /* a shorter time serves only where a longer one is saturated */
    for (int t = 0; t < run.times && (t == 0 || bright); t++) {
        float total = 0.0f, count = 0.0f;
        for (int i = 0; i < run.exposures && order[t * run.exposures + i] >= 0; i++) {
            float value = 0.0f;
            int state = read_pixel(run, point, order[t * run.exposures + i], y, x, &value);
            if (t == 0) {
                best = min(best, state);
                repeats += 1.0f;
            }
            bright = bright || state == SATURATED;
            if (state == GOOD) {
                total += value;
                count += 1.0f;
            }
        }
        if (count > 0.0f) {
            *adu = total / count * factors[t];
            *noise = factors[t] * repeats / count;
            return GOOD;
        }
    }
    return bright ? SATURATED : best;
}

/* Photons of each raw pixel of the image, (point, row, column): 0 below the floor, LOST where no exposure is valid.
   noise: as merge_pixel gives it, of the same shape; only where there are different times.
   counts: (point, 2), pixels of the window that are lost since they were damaged (not those known from the
   darks), and saturated; 0 before. where: (row, column). */
extern "C" __global__ void make_image(
    Run run, const unsigned short *raw, const int *where, const float *dark, const float *background,
    const int *order, const float *time_factors, float *image, float *noise, int *counts)
{
    int n_pixels = run.rows * run.columns, i = this_thread(), n = blockIdx.y;
    if (i >= n_pixels)
        return;
    int y = i / run.columns, x = i % run.columns;
    Point point = {
        raw + (size_t)n * run.exposures * run.words, where, dark,
        background + (size_t)n * run.exposures * run.rows * run.channels};
    float adu = 0.0f, worse = 1.0f;
    int state = merge_pixel(run, point, order, time_factors, y, x, &adu, &worse);
    if (run.times > 1)
        noise[(size_t)n * n_pixels + i] = worse;
    float value = adu * run.photons_per_adu;
    image[(size_t)n * n_pixels + i] = state != GOOD ? LOST : value >= run.floor ? value : 0.0f;
    int row = y - run.first_row, column = x - run.first_column;
    bool in_window = row >= 0 && row < run.down * run.binning && column >= 0 && column < run.across * run.binning;
    if (in_window && (state == DAMAGED || state == SATURATED))
        atomicAdd(&counts[2 * n + (state == SATURATED)], 1);
}

/* Photons of each cell at the first threshold, and its valid pixels; (point, row of cells, column of cells). */
extern "C" __global__ void count_cells(Run run, Singles singles, const float *image, float *light, float *valid)
{
    int across = run.columns / singles.cell, n_cells = run.rows / singles.cell * across;
    int i = this_thread(), n = blockIdx.y;
    if (i >= n_cells)
        return;
    image += ((size_t)n * run.rows + i / across * singles.cell) * run.columns + i % across * singles.cell;
    float total = 0.0f, count = 0.0f;
    for (int v = 0; v < singles.cell; v++)
        for (int u = 0; u < singles.cell; u++) {
            float value = image[v * run.columns + u];
            if (value == LOST)
                continue;
            count += 1.0f;
            if (value >= singles.first_threshold)
                total += value < singles.single ? singles.first_worth : value;
        }
    light[(size_t)n * n_cells + i] = total;
    valid[(size_t)n * n_cells + i] = count;
}

/* Sum of the cells along the columns, up to `wide` from each; (point, row of cells, column of cells). */
extern "C" __global__ void sum_wide(
    Run run, Singles singles, const float *light, const float *valid, float *wide_light, float *wide_valid)
{
    int across = run.columns / singles.cell, n_cells = run.rows / singles.cell * across;
    int i = this_thread(), n = blockIdx.y;
    if (i >= n_cells)
        return;
    int column = i % across;
    size_t row = (size_t)n * n_cells + i - column;
    float total = 0.0f, count = 0.0f;
    for (int c = max(column - singles.wide, 0); c <= min(column + singles.wide, across - 1); c++) {
        total += light[row + c];
        count += valid[row + c];
    }
    wide_light[row + column] = total;
    wide_valid[row + column] = count;
}

/* The pixels of one cell, in their place: 0 below the threshold that suits the light of the cells about it,
   what a single photon stands for at that threshold, or as they are. wide_light, wide_valid: of sum_wide; worths: at
   equal steps of the threshold. */
extern "C" __global__ void count_singles(
    Run run, Singles singles, const float *light, const float *valid, const float *wide_light,
    const float *wide_valid, const float *worths, float *image)
{
    int across = run.columns / singles.cell, down = run.rows / singles.cell, i = this_thread(), n = blockIdx.y;
    if (i >= down * across)
        return;
    int row = i / across, column = i % across;
    size_t cells = (size_t)n * down * across;
    float total = 0.0f, count = 0.0f, wide = 0.0f, wide_count = 0.0f;
    for (int r = max(row - singles.near, 0); r <= min(row + singles.near, down - 1); r++)
        for (int c = max(column - singles.near, 0); c <= min(column + singles.near, across - 1); c++) {
            total += light[cells + r * across + c];
            count += valid[cells + r * across + c];
        }
    for (int r = max(row - singles.wide, 0); r <= min(row + singles.wide, down - 1); r++) {
        wide += wide_light[cells + r * across + column];
        wide_count += wide_valid[cells + r * across + column];
    }
    float lent = max(wide / max(wide_count, 1.0f) - singles.first_false, singles.darkest);
    float seen = max(total - count * singles.first_false, 0.0f);
    float mean = max((seen + singles.borrowed) / (count + singles.borrowed / lent), singles.darkest);
    float threshold = min(max(0.5f - singles.variance * logf(mean), singles.lowest), singles.highest);
    float place = (threshold - singles.lowest) * ((float)singles.last / (singles.highest - singles.lowest));
    int below = min((int)place, singles.last - 1);
    float worth = worths[below] + (place - (float)below) * (worths[below + 1] - worths[below]);
    image += ((size_t)n * run.rows + row * singles.cell) * run.columns + column * singles.cell;
    for (int v = 0; v < singles.cell; v++)
        for (int u = 0; u < singles.cell; u++) {
            float *pixel = image + v * run.columns + u;
            if (*pixel < singles.single)
                *pixel = *pixel >= threshold ? worth : 0.0f;
        }
}

/* One solver pixel of one scan point: photons of its box, valid if all raw pixels are, where the solver's
   orientation puts it (transposed, both axes flipped).
   factor: (row, column); photons, mask: (point, across, down); weight: the same, stack.py says what it is. noise and
   weight only where there are different times. */
extern "C" __global__ void sum_boxes(
    Run run, const float *image, const float *noise, const float *factor, float *photons, bool *mask, float *weight)
{
    int i = this_thread(), n = blockIdx.y;
    if (i >= run.down * run.across)
        return;
    int box_row = i / run.across, box_column = i % run.across;
    image += (size_t)n * run.rows * run.columns;
    noise += run.times > 1 ? (size_t)n * run.rows * run.columns : 0;
    float total = 0.0f, excess = 0.0f;
    bool valid = true;
    for (int v = 0; v < run.binning; v++)
        for (int u = 0; u < run.binning; u++) {
            int y = run.first_row + box_row * run.binning + v, x = run.first_column + box_column * run.binning + u;
            if (y < 0 || y >= run.rows || x < 0 || x >= run.columns || image[y * run.columns + x] == LOST) {
                valid = false;
                continue;
            }
            float value = image[y * run.columns + x];
            float scaled = run.has_factor ? factor[y * run.columns + x] : 1.0f;
            total += value * scaled;
            if (run.times > 1) {
                float worse = noise[y * run.columns + x];
                excess += max(value, run.single * worse) * scaled * (worse - 1.0f);
            }
        }
    size_t to = ((size_t)n * run.across + (run.across - 1 - box_column)) * run.down + (run.down - 1 - box_row);
    photons[to] = valid ? total : 0.0f;
    mask[to] = valid;
    if (run.times > 1) {
        float light = max(total, 0.0f);
        weight[to] = max(valid && excess > 0.0f ? light / (light + excess) : 1.0f, 1.0f / run.worst);
    }
}
