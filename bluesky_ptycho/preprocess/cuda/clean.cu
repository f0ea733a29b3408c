/* The fused FCCD chain on the GPU: preset "cosmic" from raw words to solver pixels.

   The same as the steps "descramble" to "orient" of preprocess/steps.py and overscan.py, which the tests
   compare it with. Four kernels in this order: read_overscan, find_bias, find_background, clean. No thread
   waits for another: what needs the result of others is the next kernel's.

   Plain C with the names of CUDA, no header: NVRTC compiles it on the machine that runs it, and a C++
   compiler compiles it for the tests that need no card. Compile without fused multiply-add
   (--fmad=false), or a pixel that lies on the threshold may fall on its other side.

   Arrays lie in C order. blockIdx.y counts frames (clean: scan points); a frame is one exposure of a scan
   point. "where" arrays hold the place of a pixel's word in the raw frame, so that only they know of wire
   order, late channels and the layout of the halves. */

#define ADC_MASK 0x1FFF /* bits 12..0 of a word; all of them set means saturated, more a lost packet or foreign gain */
#define LOST 3.0e38f    /* in the place of a number of ADU that nobody knows */

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
    float bias;            /* of the lesser of two samples, in units of the median of their difference */
    float photons_per_adu;
    float floor;           /* photons; less than that in a raw pixel becomes 0 */
};

__device__ int this_thread() { return (int)(blockIdx.x * blockDim.x + threadIdx.x); }

/* Overscan of each row and channel: the lesser of the two slots and their difference, (frame, row, channel).
   where: (slot, row, channel); dark: (exposure, slot, row, channel), NaN where bad. */
extern "C" __global__ void read_overscan(
    Run run, const unsigned short *raw, const int *where, const float *dark, float *lesser, float *difference)
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
    float low = slots[0] < slots[1] ? slots[0] : slots[1], high = slots[0] < slots[1] ? slots[1] : slots[0];
    lesser[(size_t)frame * n + i] = low;
    difference[(size_t)frame * n + i] = high == LOST ? LOST : high - low;
}

/* How far the lesser slot lies below the mean of both, (frame, half, channel): from the median difference over
   the rows of the half. Each thread ranks the difference of one row; the one that is the median writes. */
extern "C" __global__ void find_bias(Run run, const float *difference, float *bias)
{
    int i = this_thread(), n_rows = run.rows / 2, frame = blockIdx.y;
    if (i >= run.rows * run.channels)
        return;
    int row = i / run.channels, channel = i % run.channels, half = row / n_rows;
    row -= half * n_rows;
    const float *column = difference + ((size_t)frame * run.rows + half * n_rows) * run.channels + channel;
    float mine = column[row * run.channels];
    int known = 0, rank = 0;
    for (int r = 0; r < n_rows; r++) {
        float value = column[r * run.channels];
        known += value < LOST;
        rank += value < mine || (value == mine && r < row);
    }
    float *to = bias + ((size_t)frame * 2 + half) * run.channels + channel;
    if (known == 0 ? row == 0 : rank == known / 2)
        *to = known == 0 ? 0.0f : run.bias * mine;
}

/* Background of each row and channel, (frame, row, channel): running median over the rows of the half, clamped,
   bias added. At both ends the last whole window serves. LOST where a window has nothing. */
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
    *to = median + bias[((size_t)frame * 2 + half) * run.channels + channel];
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
   all is that of the result; the value of a pixel that is not GOOD never gets further than this.
   order: (time, exposures), longest time first, -1 behind the exposures of a time; factors: longest over each time. */
__device__ int merge_pixel(
    const Run &run, const Point &point, const int *order, const float *factors, int y, int x, float *adu)
{
    int best = BAD;
    for (int t = 0; t < run.times; t++) {
        float total = 0.0f, count = 0.0f;
        for (int i = 0; i < run.exposures && order[t * run.exposures + i] >= 0; i++) {
            float value = 0.0f;
            int state = read_pixel(run, point, order[t * run.exposures + i], y, x, &value);
            best = min(best, state);
            if (state == GOOD) {
                total += value;
                count += 1.0f;
            }
        }
        if (count > 0.0f) {
            *adu = total / count * factors[t];
            return GOOD;
        }
    }
    return best;
}

/* One solver pixel of one scan point: photons of its box, valid if all raw pixels are, where the solver's
   orientation puts it (transposed, both axes flipped). counts: (point, 2), raw pixels that no exposure could give
   since they were damaged (not those known from the darks), saturated; 0 before.
   where: (row, column); factor: (row, column); photons, mask: (point, across, down). */
extern "C" __global__ void clean(
    Run run, const unsigned short *raw, const int *where, const float *dark, const float *background,
    const float *factor, const int *order, const float *time_factors, float *photons, bool *mask, int *counts)
{
    int i = this_thread(), n = blockIdx.y;
    if (i >= run.down * run.across)
        return;
    int box_row = i / run.across, box_column = i % run.across;
    Point point = {
        raw + (size_t)n * run.exposures * run.words, where, dark,
        background + (size_t)n * run.exposures * run.rows * run.channels};
    float total = 0.0f;
    int damaged = 0, saturated = 0;
    bool valid = true;
    for (int v = 0; v < run.binning; v++)
        for (int u = 0; u < run.binning; u++) {
            int y = run.first_row + box_row * run.binning + v, x = run.first_column + box_column * run.binning + u;
            if (y < 0 || y >= run.rows || x < 0 || x >= run.columns) {
                valid = false;
                continue;
            }
            float adu = 0.0f;
            int state = merge_pixel(run, point, order, time_factors, y, x, &adu);
            valid = valid && state == GOOD;
            damaged += state == DAMAGED;
            saturated += state == SATURATED;
            float value = adu * run.photons_per_adu;
            if (state == GOOD && value >= run.floor)
                total += run.has_factor ? value * factor[y * run.columns + x] : value;
        }
    size_t to = ((size_t)n * run.across + (run.across - 1 - box_column)) * run.down + (run.down - 1 - box_row);
    photons[to] = valid ? total : 0.0f;
    mask[to] = valid;
    if (damaged)
        atomicAdd(&counts[2 * n], damaged);
    if (saturated)
        atomicAdd(&counts[2 * n + 1], saturated);
}
