// Where things stand in the 512 bytes of a tar header (POSIX.1-1988 ustar; GNU and v7 differ only
// where a comment says so). All fields are text; numbers are octal.
#ifndef FARM_LAYER_TAR_HEADER_H_
#define FARM_LAYER_TAR_HEADER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace farm {

struct TarField {
  size_t offset;
  size_t size;
};

inline constexpr TarField kTarName{0, 100};
inline constexpr TarField kTarMode{100, 8};
inline constexpr TarField kTarUid{108, 8};
inline constexpr TarField kTarGid{116, 8};
inline constexpr TarField kTarSize{124, 12};
inline constexpr TarField kTarMtime{136, 12};
inline constexpr TarField kTarChecksum{148, 8};
inline constexpr TarField kTarTypeFlag{156, 1};
inline constexpr TarField kTarLinkName{157, 100};
inline constexpr TarField kTarMagic{257, 8};  // With the version; v7 has zeros.
inline constexpr TarField kTarDeviceMajor{329, 8};
inline constexpr TarField kTarDeviceMinor{337, 8};
inline constexpr TarField kTarPrefix{345, 155};  // Not in GNU's, which has times there.
inline constexpr TarField kStarPrefix{345, 131};
inline constexpr TarField kStarTrailer{508, 4};

inline constexpr absl::string_view kUstarMagic{"ustar\00000", 8};
inline constexpr absl::string_view kGnuMagic{"ustar  \0", 8};

inline constexpr char kPaxXattrPrefix[] = "SCHILY.xattr.";

// Sum of the bytes of a header, with the checksum's own field taken as spaces.
inline uint32_t TarChecksum(const char* header) {
  uint32_t sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += static_cast<uint8_t>(header[i]);
  for (size_t i = 0; i < kTarChecksum.size; ++i) {
    sum -= static_cast<uint8_t>(header[kTarChecksum.offset + i]);
  }
  return sum + kTarChecksum.size * ' ';
}

}  // namespace farm

#endif  // FARM_LAYER_TAR_HEADER_H_
