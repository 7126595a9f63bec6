// Small encodings shared by the table's formats: variable-length numbers and counted strings.
#ifndef FARM_LAYER_WIRE_H_
#define FARM_LAYER_WIRE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace farm {

// Seven bits a byte, lowest first, the high bit set in all but the last.
void AppendVarint(uint64_t value, std::string* out);
// The length as a varint, then the bytes.
void AppendCounted(absl::string_view bytes, std::string* out);
// Eight bytes, lowest first.
void AppendFixed64(uint64_t value, std::string* out);

// Reads from the front of some bytes. After the first failed read all others fail too, so one look
// at ok() at the end of a record is enough.
class WireReader {
 public:
  explicit WireReader(absl::string_view bytes) : bytes_(bytes) {}

  uint64_t Varint();  // 0 after a failure.
  uint64_t Fixed64();
  uint8_t Byte();
  absl::string_view Bytes(uint64_t count);  // "" after a failure.
  absl::string_view Counted() { return Bytes(Varint()); }

  void Fail() { ok_ = false; }
  bool ok() const { return ok_; }

 private:
  absl::string_view bytes_;
  bool ok_ = true;
};

}  // namespace farm

#endif  // FARM_LAYER_WIRE_H_
