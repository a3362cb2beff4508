extern "C" __global__ void kernel_c72ea9f212f2936e(const float* __restrict__ v0, const float* __restrict__ v1, float* __restrict__ v2) {
    for (long long v3 = blockIdx.x * (long long)blockDim.x + threadIdx.x; v3 < 30; v3 += gridDim.x * (long long)blockDim.x) {
        const long long v4 = v3 / 5;
        const long long v5 = v3 % 5;
        float v6 = 0.0f;
        for (long long v7 = 0; v7 < 33; ++v7) {
            v6 = fmaf(v0[v4 * 33 + v7], v1[v7 * 5 + v5], v6);
        }
        v2[v4 * 5 + v5] = v6;
    }
}
