// What CUDA C of the plain mapping needs of a device, for a C++ compiler: one thread at a time.
#include <cmath>
#include <cstring>

#define __global__
#define __device__

struct Index {
    unsigned x;
};
static Index blockIdx, threadIdx, blockDim, gridDim;

template <class To, class From> static To with_bits_of(From x) {
    To result;
    static_assert(sizeof result == sizeof x);
    std::memcpy(&result, &x, sizeof x);
    return result;
}
static int __float_as_int(float x) { return with_bits_of<int>(x); }
static unsigned __float_as_uint(float x) { return with_bits_of<unsigned>(x); }
static float __int_as_float(int x) { return with_bits_of<float>(x); }
static float __uint_as_float(unsigned x) { return with_bits_of<float>(x); }
static long long __double_as_longlong(double x) { return with_bits_of<long long>(x); }
static double __longlong_as_double(long long x) { return with_bits_of<double>(x); }
static unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}

// Blocks and threads in reverse, so that nothing relies on their order.
template <class Run> static void launch(unsigned blocks, unsigned threads, Run run) {
    gridDim.x = blocks;
    blockDim.x = threads;
    for (unsigned block = blocks; block-- > 0;)
        for (unsigned thread = threads; thread-- > 0;) {
            blockIdx.x = block;
            threadIdx.x = thread;
            run();
        }
}
