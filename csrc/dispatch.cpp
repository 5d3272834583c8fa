#include "dispatch.hpp"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#if defined(CONVPOOL_HAS_avx2) || defined(CONVPOOL_HAS_avx512)
#include <cpuid.h>
#define CONVPOOL_DETECTS
#endif

namespace convpool {
namespace {

struct Features {
  bool avx2 = false, avx512 = false;
};

// CPUID says what the CPU has, XCR0 which registers the operating system saves; both are needed.
Features detect() {
  Features has;
#ifdef CONVPOOL_DETECTS
  std::uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return has;
  const bool osxsave = c >> 27 & 1, fma = c >> 12 & 1;
  if (!osxsave) return has;
  std::uint32_t xcr0, high;
  __asm__("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
  const bool ymm = (xcr0 & 0x06) == 0x06, zmm = (xcr0 & 0xe6) == 0xe6;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return has;
  has.avx2 = ymm && fma && (b >> 5 & 1);
  constexpr std::uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  has.avx512 = has.avx2 && zmm && (b & f_dq_bw_vl) == f_dq_bw_vl;
#endif
  return has;
}

struct Candidate {
  const Kernels& kernels;
  bool detected;
};

// Best first; the last one always works.
std::vector<Candidate> candidates() {
  [[maybe_unused]] const Features has = detect();
  return {
#ifdef CONVPOOL_HAS_avx512
      {kernels_avx512, has.avx512},
#endif
#ifdef CONVPOOL_HAS_avx2
      {kernels_avx2, has.avx2},
#endif
      {kernels_base, true}};
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

const Kernels& choose() {
  const char* override_name = std::getenv("CONVPOOL_ISA");
  const std::string wanted = override_name ? override_name : "";
  for (const Candidate& candidate : candidates()) {
    if (candidate.detected && (wanted.empty() || wanted == candidate.kernels.name)) {
      return candidate.kernels;
    }
  }
  throw std::runtime_error("CONVPOOL_ISA='" + wanted + "' cannot be used: this build has " +
                           joined(built_instruction_sets()) + "; this CPU runs " +
                           joined(detected_instruction_sets()));
}

}  // namespace

std::vector<std::string> built_instruction_sets() {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates()) names.push_back(candidate.kernels.name);
  return names;
}

std::vector<std::string> detected_instruction_sets() {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates()) {
    if (candidate.detected) names.push_back(candidate.kernels.name);
  }
  return names;
}

const Kernels& active_kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace convpool
