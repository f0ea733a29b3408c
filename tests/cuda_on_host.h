/* Just enough of CUDA to run kernels that wait for nobody on the host: one thread after the other.

   A unit includes this file, then the kernels' source, then says EXPORT(name) for each kernel. That gives
   launch_<name>(grid, block, arguments), which takes what cuLaunchKernel takes (a pointer to each argument), and
   signature_<name>(), the mangled type and the size of each parameter, by which the caller checks its arguments. */

#include <algorithm>
#include <cstddef>
#include <math.h>
#include <string>
#include <typeinfo>
#include <utility>

#define __global__
#define __device__ static inline

using std::max;
using std::min;

struct dim3 {
    unsigned x, y, z;
};
static thread_local dim3 gridDim, blockDim, blockIdx, threadIdx;

template <typename T> T atomicAdd(T *address, T value)
{
    T old = *address;
    *address += value;
    return old;
}

namespace host {

template <typename... A, std::size_t... I>
void launch(void (*kernel)(A...), const unsigned *grid, unsigned block, void **arguments, std::index_sequence<I...>)
{
    gridDim = {grid[0], grid[1], 1};
    blockDim = {block, 1, 1};
    for (unsigned y = 0; y < grid[1]; y++)
        for (unsigned x = 0; x < grid[0]; x++)
            for (unsigned t = 0; t < block; t++) {
                blockIdx = {x, y, 0};
                threadIdx = {t, 0, 0};
                kernel(*static_cast<A *>(arguments[I])...);
            }
}

template <typename... A>
void launch(void (*kernel)(A...), const unsigned *grid, unsigned block, void **arguments)
{
    launch(kernel, grid, block, arguments, std::index_sequence_for<A...>());
}

template <typename... A>
const char *signature(void (*)(A...))
{
    static const std::string text = ((typeid(A).name() + (":" + std::to_string(sizeof(A))) + " ") + ...);
    return text.c_str();
}

} // namespace host

#define EXPORT(name)                                                                              \
    extern "C" void launch_##name(const unsigned *grid, unsigned block, void **arguments)          \
    {                                                                                             \
        host::launch(name, grid, block, arguments);                                               \
    }                                                                                             \
    extern "C" const char *signature_##name() { return host::signature(name); }
