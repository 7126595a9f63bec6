#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "layer/tar_header.h"
#include "layer/tar_reader.h"
#include "layer/tar_writer.h"
#include "layer/testing/tar_builder.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

using Entries = std::vector<std::pair<TarEntry, std::string>>;

absl::StatusOr<Entries> ReadAll(const std::string& tar, const TarLimits& limits = {}) {
  StringSource source(tar);
  TarReader reader(source, limits);
  Entries entries;
  while (true) {
    TarEntry entry;
    ASSIGN_OR_RETURN(const bool more, reader.Next(&entry));
    if (!more) break;
    std::string data;
    while (true) {
      ASSIGN_OR_RETURN(const absl::string_view chunk, reader.NextData());
      if (chunk.empty()) break;
      data.append(chunk.data(), chunk.size());
    }
    entries.emplace_back(std::move(entry), std::move(data));
  }
  RETURN_IF_ERROR(reader.Drain());
  return entries;
}

TarEntry ReadOne(const std::string& tar) {
  absl::StatusOr<Entries> entries = ReadAll(tar);
  EXPECT_OK(entries);
  if (!entries.ok() || entries->size() != 1) {
    ADD_FAILURE() << "not one entry";
    return TarEntry();
  }
  return entries->front().first;
}

// A header by hand, for what the writer never writes.
class RawHeader {
 public:
  explicit RawHeader(absl::string_view name, char type_flag = '0') : bytes_(kTarBlockBytes, '\0') {
    Put(kTarName, name).Put(kTarMode, "0000644").Put(kTarUid, "0000000").Put(kTarGid, "0000000");
    Put(kTarSize, "00000000000").Put(kTarMtime, "00000000000").Put(kTarMagic, kUstarMagic);
    bytes_[kTarTypeFlag.offset] = type_flag;
  }
  RawHeader& Put(TarField field, absl::string_view text) {
    bytes_.replace(field.offset, field.size, std::string(field.size, '\0'));
    bytes_.replace(field.offset, text.size(), text.data(), text.size());
    return *this;
  }
  // Header, data and padding.
  std::string Build(absl::string_view data = "") {
    if (!data.empty()) Put(kTarSize, Octal(data.size(), 11));
    Put(kTarChecksum,
        absl::StrCat(Octal(TarChecksum(bytes_.data()), 6), absl::string_view("\0 ", 2)));
    std::string result = absl::StrCat(bytes_, data);
    result.resize((result.size() + kTarBlockBytes - 1) / kTarBlockBytes * kTarBlockBytes);
    return result;
  }
  static std::string Octal(uint64_t value, int digits) {
    std::string text(digits, '0');
    for (int i = digits; i-- > 0; value >>= 3) text[i] = static_cast<char>('0' + (value & 7));
    return text;
  }

 private:
  std::string bytes_;
};

const std::string kEnd(2 * kTarBlockBytes, '\0');

std::string PaxRecord(absl::string_view key, absl::string_view value) {
  size_t length = key.size() + value.size() + 4;
  while (absl::StrCat(length).size() + key.size() + value.size() + 3 != length) ++length;
  return absl::StrCat(length, " ", key, "=", value, "\n");
}

TarEntry EntryOfAllFields(std::string name) {
  TarEntry entry;
  entry.name = std::move(name);
  entry.mode = 06755;
  entry.uid = 1000;
  entry.gid = 100;
  entry.mtime = absl::FromUnixSeconds(1'700'000'000);
  return entry;
}

TEST(TarWriterTest, BytesAreThoseRecorded) {
  TarEntry big = EntryOfAllFields(std::string(150, 'n'));
  big.uid = 4'000'000'000;
  big.xattrs = {{"user.b", "2"}, {"user.a", std::string("\0\n", 2)}};
  const std::string tar = TarBuilder()
                              .Directory("dir", 01777)
                              .Add(EntryOfAllFields("dir/file"), "hello\n")
                              .HardLink("dir/link", "dir/file")
                              .Symlink("sym", std::string(101, 't'))
                              .Device("null", TarType::kCharDevice, 1, 3)
                              .Device("fifo", TarType::kFifo, 0, 0)
                              .Add(big, "x")
                              .Build();
  EXPECT_EQ(DigestOf(tar).hex(),
            "f2ca188ab1993e04a62aae5a691447784f0159c4a52cad102fb08ea79a0137d3");
}

TEST(TarWriterTest, AHeaderIsPlainUstarIfItFits) {
  const std::string tar = TarBuilder().Add(EntryOfAllFields("name"), "x").Build();
  EXPECT_EQ(tar.size(), 4 * kTarBlockBytes);  // Header, data, end mark.
  EXPECT_EQ(tar.substr(0, 5), std::string("name\0", 5));
  EXPECT_EQ(tar.substr(100, 24), std::string("0006755\0"
                                             "0001750\0"
                                             "0000144\0",
                                             24));
  EXPECT_EQ(tar.substr(124, 24), std::string("00000000001\0"
                                             "14524770400\0",
                                             24));
  EXPECT_EQ(tar.substr(257, 8), std::string("ustar\0"
                                            "00",
                                            8));
  EXPECT_EQ(tar.substr(265, 64), std::string(64, '\0'));  // No user and group names.
}

TEST(TarWriterTest, TimesAreFlooredToSeconds) {
  TarEntry entry = EntryOfAllFields("f");
  entry.mtime = absl::FromUnixSeconds(-1) + absl::Milliseconds(300);
  EXPECT_EQ(ReadOne(TarBuilder().Add(entry).Build()).mtime, absl::FromUnixSeconds(-1));
}

TEST(TarWriterTest, TheLimitIsKept) {
  StringSink sink;
  TarWriter writer(sink, 2 * kTarBlockBytes);
  ASSERT_OK(writer.AddEntry(EntryOfAllFields("f")));
  EXPECT_THAT(writer.Finish(), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(TarReaderTest, ReadsWhatTheWriterWrote) {
  TarEntry big = EntryOfAllFields(std::string(3000, 'n'));
  big.uid = 4'000'000'000;
  big.gid = 3'000'000;
  big.mtime = absl::FromUnixSeconds(-1);
  big.xattrs = {{"user.a", std::string("\0\n=", 3)}, {"user.long", std::string(5000, 'v')}};
  TarEntry file = EntryOfAllFields("file");
  const std::string data(3'000'000, 'x');  // More than a buffer.
  const std::string tar =
      TarBuilder().Add(big, "y").Add(file, data).Symlink("s", std::string(200, 't')).Build();
  ASSERT_OK_AND_ASSIGN(const Entries entries, ReadAll(tar));
  big.size_bytes = 1;
  file.size_bytes = 3'000'000;
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_THAT(entries[0], Pair(big, "y"));
  EXPECT_THAT(entries[1], Pair(file, data));
  EXPECT_EQ(entries[2].first.link_name, std::string(200, 't'));
}

TEST(TarReaderTest, DataMayBeSkipped) {
  const std::string tar = TarBuilder().File("a", std::string(5000, 'x')).File("b", "y").Build();
  StringSource source(tar);
  TarReader reader(source, {});
  TarEntry entry;
  EXPECT_THAT(reader.Next(&entry), IsOkAndHolds(true));
  EXPECT_THAT(reader.Next(&entry), IsOkAndHolds(true));
  EXPECT_EQ(entry.name, "b");
  EXPECT_THAT(reader.Next(&entry), IsOkAndHolds(false));
}

TEST(TarReaderTest, V7HasNoMagicAndDirectoriesEndWithASlash) {
  const auto v7 = [](absl::string_view name) {
    return ReadOne(RawHeader(name, '\0').Put(kTarMagic, "").Build() + kEnd).type;
  };
  EXPECT_EQ(v7("d/"), TarType::kDirectory);
  EXPECT_EQ(v7("f"), TarType::kFile);
}

TEST(TarReaderTest, UstarNamesHaveAPrefix) {
  EXPECT_EQ(ReadOne(RawHeader("name").Put(kTarPrefix, "dir/sub").Build() + kEnd).name,
            "dir/sub/name");
  // GNU has something else there.
  EXPECT_EQ(
      ReadOne(RawHeader("name").Put(kTarMagic, kGnuMagic).Put(kTarPrefix, "1234").Build() + kEnd)
          .name,
      "name");
}

TEST(TarReaderTest, ReadsGnuLongNamesAndLinks) {
  const std::string name(300, 'n');
  const std::string link(400, 'l');
  const TarEntry entry = ReadOne(
      RawHeader("././@LongLink", 'L').Build(absl::StrCat(name, absl::string_view("\0", 1))) +
      RawHeader("././@LongLink", 'K').Build(absl::StrCat(link, absl::string_view("\0", 1))) +
      RawHeader("short", '2').Build() + kEnd);
  EXPECT_EQ(entry.name, name);
  EXPECT_EQ(entry.link_name, link);
}

TEST(TarReaderTest, ReadsBase256Numbers) {
  const TarEntry entry =
      ReadOne(RawHeader("f")
                  .Put(kTarUid, absl::string_view("\x80\0\0\0\xff\xff\xff\xff", 8))
                  .Put(kTarMtime, std::string(12, '\xff'))
                  .Build() +
              kEnd);
  EXPECT_EQ(entry.uid, UINT32_MAX);
  EXPECT_EQ(entry.mtime, absl::FromUnixSeconds(-1));
}

TEST(TarReaderTest, PaxRecordsWinOverTheHeader) {
  const std::string records = PaxRecord("path", "long/name") + PaxRecord("mtime", "-1.5") +
                              PaxRecord("uid", "7") + PaxRecord("size", "3") +
                              PaxRecord("SCHILY.xattr.user.k", "v=w") + PaxRecord("comment", "c");
  ASSERT_OK_AND_ASSIGN(const Entries entries,
                       ReadAll(RawHeader("x", 'x').Build(records) +
                               RawHeader("f").Put(kTarSize, "00000000000").Build() + "abc" +
                               std::string(509, '\0') + kEnd));
  ASSERT_EQ(entries.size(), 1u);
  const TarEntry& entry = entries[0].first;
  EXPECT_EQ(entry.name, "long/name");
  EXPECT_EQ(entry.mtime, absl::FromUnixSeconds(-1) - absl::Milliseconds(500));
  EXPECT_EQ(entry.uid, 7u);
  EXPECT_THAT(entry.xattrs, ElementsAre(Pair("user.k", "v=w")));
  EXPECT_EQ(entries[0].second, "abc");
}

TEST(TarReaderTest, GlobalPaxRecordsHoldUntilOverridden) {
  const std::string tar = RawHeader("g", 'g').Build(PaxRecord("uid", "5") + PaxRecord("gid", "6")) +
                          RawHeader("a").Build() +
                          RawHeader("x", 'x').Build(PaxRecord("uid", "7")) +
                          RawHeader("b").Build() + RawHeader("g", 'g').Build(PaxRecord("uid", "")) +
                          RawHeader("c").Build() + kEnd;
  ASSERT_OK_AND_ASSIGN(const Entries entries, ReadAll(tar));
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].first.uid, 5u);
  EXPECT_EQ(entries[1].first.uid, 7u);
  EXPECT_EQ(entries[1].first.gid, 6u);
  EXPECT_EQ(entries[2].first.uid, 0u);
}

TEST(TarReaderTest, TheEndMayBeMarkedOrNot) {
  const std::string entry = RawHeader("f").Build();
  for (const std::string& end : {std::string(), std::string(512, '\0'), kEnd, kEnd + "garbage"}) {
    EXPECT_EQ(ReadOne(entry + end).name, "f") << end.size();
  }
  EXPECT_THAT(ReadAll(""), IsOkAndHolds(::testing::IsEmpty()));
  EXPECT_THAT(ReadAll(std::string(512, '\0') + entry),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(TarReaderTest, BadHeadersAreRefused) {
  const auto code = [](const std::string& tar) { return ReadAll(tar).status().code(); };
  EXPECT_EQ(code(std::string(512, 'x')), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(RawHeader("f").Put(kTarSize, "0000000000x").Build()),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(RawHeader("f").Put(kTarSize, std::string(12, '\xff')).Build()),
            absl::StatusCode::kInvalidArgument);  // -1
  EXPECT_EQ(code(RawHeader("f").Put(kTarSize, "\x80\x01" + std::string(10, '\0')).Build()),
            absl::StatusCode::kInvalidArgument);  // More than 64 bits.
  EXPECT_EQ(code(RawHeader("f").Put(kTarUid, std::string(8, '\xff')).Build()),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(RawHeader("f", 'Z').Build()), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(RawHeader("f").Put(kTarSize, "77777777777").Build()),
            absl::StatusCode::kDataLoss);  // 8 GiB that are not there.
}

TEST(TarReaderTest, BadPaxRecordsAreRefused) {
  for (const std::string& records :
       {std::string("x"), std::string("5"), std::string("99 a=b\n"), std::string("6 a=b\n\n"),
        std::string("6 =ab\n"), std::string("7 ab\n\n\n"), std::string("-6 a=b\n"),
        PaxRecord("size", "-1"), PaxRecord("size", "1x"), PaxRecord("uid", "4294967296"),
        PaxRecord("mtime", "x"), PaxRecord("mtime", "1.x"),
        PaxRecord("mtime", "99999999999999999999"),
        PaxRecord("path", absl::string_view("a\0b", 3))}) {
    EXPECT_THAT(ReadAll(RawHeader("x", 'x').Build(records) + RawHeader("f").Build() + kEnd),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << records;
  }
}

TEST(TarReaderTest, SparseFilesAreRefusedWithAdvice) {
  EXPECT_THAT(ReadAll(RawHeader("f", 'S').Build() + kEnd),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--sparse")));
  EXPECT_THAT(ReadAll(RawHeader("x", 'x').Build(PaxRecord("GNU.sparse.major", "1")) +
                      RawHeader("f").Build() + kEnd),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--sparse")));
}

TEST(TarReaderTest, LimitsAreNamed) {
  const std::string tar = TarBuilder().File("a", "").File("b", "").Build();
  EXPECT_THAT(ReadAll(tar, {.entries_max = 1}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("entries_max 1")));
  EXPECT_THAT(ReadAll(tar, {.bytes_max = 2000}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("tar_bytes_max 2000")));
  const std::string long_name = TarBuilder().File(std::string(2000, 'n'), "").Build();
  EXPECT_THAT(
      ReadAll(long_name, {.extended_header_bytes_max = 1000}),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("extended_header_bytes_max 1000")));
}

TEST(TarReaderTest, ExtendedHeadersOfOneEntryAreBoundedTogether) {
  for (const char type_flag : {'x', 'g', 'L', 'K'}) {
    std::string tar;
    for (int i = 0; i < 5; ++i) {
      const bool pax = type_flag == 'x' || type_flag == 'g';
      tar += RawHeader("h", type_flag)
                 .Build(pax ? PaxRecord(absl::StrCat("key", i), std::string(300, 'v'))
                            : std::string(300, 'n'));
    }
    tar += RawHeader("f").Build() + kEnd;
    EXPECT_OK(ReadAll(tar)) << type_flag;
    EXPECT_THAT(
        ReadAll(tar, {.extended_header_bytes_max = 2000}),
        StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("extended_header_bytes_max 2000")))
        << type_flag;
  }
}

TEST(TarReaderTest, GlobalRecordsAreBoundedOverAllOfTheTar) {
  std::string tar;
  for (int i = 0; i < 5; ++i) {
    tar += RawHeader("h", 'g').Build(PaxRecord(absl::StrCat("key", i), std::string(600, 'v'))) +
           RawHeader("f").Build();
  }
  EXPECT_THAT(
      ReadAll(tar + kEnd, {.extended_header_bytes_max = 2000}),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("extended_header_bytes_max 2000")));
}

// The packer counts entries, so what it packed could not be unpacked.
TEST(TarReaderTest, ExtendedHeadersAreNoEntries) {
  const std::string tar =
      TarBuilder().File(std::string(150, 'a'), "").File(std::string(150, 'b'), "").Build();
  EXPECT_OK(ReadAll(tar, {.entries_max = 2}));
}

TEST(TarReaderTest, AHeaderThatPromisesMemoryGetsNone) {
  EXPECT_THAT(ReadAll(RawHeader("x", 'x').Put(kTarSize, "77777777777").Build()),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(TarReaderTest, EveryCutWithinAnEntryIsDataLoss) {
  const std::string tar = TarBuilder().File(std::string(150, 'n'), "hello").Build();
  const size_t end = tar.size() - kEnd.size();
  for (size_t size = 1; size < end; ++size) {
    EXPECT_THAT(ReadAll(tar.substr(0, size)), StatusIs(absl::StatusCode::kDataLoss)) << size;
  }
}

}  // namespace
}  // namespace farm
