extern "C" __global__ void kernel_10b2ab0d5fff47ee(const float* __restrict__ v0, float* __restrict__ v1, float* __restrict__ v2) {
    for (long long v3 = blockIdx.x * (long long)blockDim.x + threadIdx.x; v3 < 7; v3 += gridDim.x * (long long)blockDim.x) {
        float v4[1];
        v4[0] = 0.0f;
        for (long long v5 = v3; v5 < 9; v5 += 2) {
            v4[0] = v4[0] + v0[v3 * 9 + v5];
            v1[v3 * 9 + v5] = v4[0];
        }
        if (v3 % 2 == 0) {
            v2[v3 / 2] = v4[0] * 2.0f;
        }
    }
}
