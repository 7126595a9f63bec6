#include "base/config_file.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>
#include <yaml-cpp/yaml.h>

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/byte_stream.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "base/suggestion.h"

namespace farm {
namespace {

constexpr char kConfigErrorPayload[] = "farm/config-error";

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int64_t kFileBytesMax = 1 << 20;
constexpr char kListForm[] = "a list (\"[a, b]\")";

bool IsDuration(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type() == google::protobuf::Duration::descriptor();
}

// "NETWORK_MODE_HOST" of enum NetworkMode is "host".
std::string ShortName(const EnumValueDescriptor& value) {
  std::string prefix;
  for (const char c : value.type()->name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  return absl::AsciiStrToLower(absl::StripPrefix(value.name(), prefix + "_"));
}

std::string DurationText(const google::protobuf::Duration& duration) {
  return absl::FormatDuration(absl::Seconds(duration.seconds()) +
                              absl::Nanoseconds(duration.nanos()));
}

class Reader {
 public:
  Reader(absl::string_view yaml, std::string file)
      : file_(std::move(file)), lines_(absl::StrSplit(yaml, '\n')) {}

  absl::Status Error(const YAML::Mark& mark, absl::string_view message) const {
    // yaml-cpp counts from 0, and knows no place for some errors.
    if (mark.is_null()) return ErrorAt({file_, 0, 0}, message);
    const size_t line = mark.line;
    return ErrorAt({file_, mark.line + 1, mark.column + 1}, message,
                   line < lines_.size() ? lines_[line] : "");
  }

  absl::Status ReadMessage(const YAML::Node& node, Message& message) const {
    if (!node.IsMap()) {
      return Error(node.Mark(),
                   absl::StrCat("expected fields (\"name: value\") here, got ", TypeName(node)));
    }
    const Descriptor& type = *message.GetDescriptor();
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const YAML::Node& key = entry.first;
      if (!key.IsScalar()) return Error(key.Mark(), "expected a field's name");
      const FieldDescriptor* field = type.FindFieldByName(key.Scalar());
      if (field == nullptr) return UnknownField(key, type);
      if (!seen.insert(field->name()).second) {
        return Error(key.Mark(), absl::StrCat("field \"", field->name(), "\" is there twice"));
      }
      // "name:" without a value: yaml-cpp gives such a value no place of its own.
      if (entry.second.IsNull()) {
        return WrongType(entry.second, key.Mark(), *field,
                         field->is_repeated() ? kListForm : Expected(*field));
      }
      RETURN_IF_ERROR(ReadField(entry.second, *field, message));
    }
    return absl::OkStatus();
  }

 private:
  static const char* TypeName(const YAML::Node& node) {
    switch (node.Type()) {
      case YAML::NodeType::Map:
        return "fields";
      case YAML::NodeType::Sequence:
        return "a list";
      case YAML::NodeType::Scalar:
        return "a single value";
      case YAML::NodeType::Null:
      case YAML::NodeType::Undefined:
        return "nothing";
    }
    return "nothing";
  }

  absl::Status UnknownField(const YAML::Node& key, const Descriptor& type) const {
    std::vector<std::string> names;
    for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
    std::string message = absl::StrCat("unknown field \"", key.Scalar(), "\"");
    if (const std::string near = ClosestMatch(key.Scalar(), names); !near.empty()) {
      absl::StrAppend(&message, "; did you mean \"", near, "\"?");
    }
    return Error(key.Mark(), message);
  }

  absl::Status ReadField(const YAML::Node& node, const FieldDescriptor& field,
                         Message& message) const {
    if (!field.is_repeated()) return ReadValue(node, field, message);
    if (!node.IsSequence()) return WrongType(node, node.Mark(), field, kListForm);
    message.GetReflection()->ClearField(&message, &field);
    for (const YAML::Node& element : node) {
      RETURN_IF_ERROR(ReadValue(element, field, message));
    }
    return absl::OkStatus();
  }

  // Sets a field, or adds to a repeated one.
  absl::Status ReadValue(const YAML::Node& node, const FieldDescriptor& field,
                         Message& message) const {
    const Reflection& reflection = *message.GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !IsDuration(field)) {
      return ReadMessage(node, field.is_repeated() ? *reflection.AddMessage(&message, &field)
                                                   : *reflection.MutableMessage(&message, &field));
    }
    if (!node.IsScalar()) return WrongType(node, field);
    const std::string& text = node.Scalar();
    if (IsDuration(field)) return ReadDuration(node, field, message);
    const auto store = [&](auto add, auto set, const auto& value) {
      field.is_repeated() ? (reflection.*add)(&message, &field, value)
                          : (reflection.*set)(&message, &field, value);
      return absl::OkStatus();
    };
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return store(&Reflection::AddString, &Reflection::SetString, text);
      case FieldDescriptor::CPPTYPE_BOOL:
        if (text != "true" && text != "false") return WrongType(node, field);
        return store(&Reflection::AddBool, &Reflection::SetBool, text == "true");
      case FieldDescriptor::CPPTYPE_INT32:
        if (int32_t value; absl::SimpleAtoi(text, &value)) {
          return store(&Reflection::AddInt32, &Reflection::SetInt32, value);
        }
        return WrongType(node, field);
      case FieldDescriptor::CPPTYPE_INT64:
        if (int64_t value; absl::SimpleAtoi(text, &value)) {
          return store(&Reflection::AddInt64, &Reflection::SetInt64, value);
        }
        return WrongType(node, field);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        if (double value; absl::SimpleAtod(text, &value)) {
          return store(&Reflection::AddDouble, &Reflection::SetDouble, value);
        }
        return WrongType(node, field);
      case FieldDescriptor::CPPTYPE_ENUM:
        if (const EnumValueDescriptor* value = FindEnumValue(*field.enum_type(), text)) {
          return store(&Reflection::AddEnum, &Reflection::SetEnum, value);
        }
        return WrongType(node, field);
      default:
        return Error(node.Mark(),
                     absl::StrCat(field.name(), ": can't be set in a configuration file"));
    }
  }

  absl::Status ReadDuration(const YAML::Node& node, const FieldDescriptor& field,
                            Message& message) const {
    absl::Duration duration;
    if (!absl::ParseDuration(node.Scalar(), &duration) || duration < absl::ZeroDuration() ||
        duration == absl::InfiniteDuration()) {
      return WrongType(node, field);
    }
    const Reflection& reflection = *message.GetReflection();
    auto& out = static_cast<google::protobuf::Duration&>(
        field.is_repeated() ? *reflection.AddMessage(&message, &field)
                            : *reflection.MutableMessage(&message, &field));
    out.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
    out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
    return absl::OkStatus();
  }

  static const EnumValueDescriptor* FindEnumValue(const EnumDescriptor& type,
                                                  const std::string& text) {
    for (int i = 0; i < type.value_count(); ++i) {
      const EnumValueDescriptor* value = type.value(i);
      if (value->name() == text || absl::EqualsIgnoreCase(ShortName(*value), text)) return value;
    }
    return nullptr;
  }

  // What one value of the field looks like.
  static std::string Expected(const FieldDescriptor& field) {
    if (IsDuration(field)) return "a duration like \"30s\" or \"1h30m\"";
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return "fields (\"name: value\")";
      case FieldDescriptor::CPPTYPE_STRING:
        return "a text";
      case FieldDescriptor::CPPTYPE_BOOL:
        return "true or false";
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return "a number";
      case FieldDescriptor::CPPTYPE_ENUM:
        return absl::StrCat("one of ", absl::StrJoin(EnumNames(*field.enum_type()), ", "));
      default:
        return "a whole number";
    }
  }

  static std::vector<std::string> EnumNames(const EnumDescriptor& type) {
    std::vector<std::string> names;
    for (int i = 0; i < type.value_count(); ++i) {
      // 0 is "unspecified": leave the field out to say that.
      if (type.value(i)->number() != 0) names.push_back(ShortName(*type.value(i)));
    }
    return names;
  }

  absl::Status WrongType(const YAML::Node& node, const FieldDescriptor& field) const {
    std::string suggestion;
    if (node.IsScalar() && field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
      suggestion = ClosestMatch(node.Scalar(), EnumNames(*field.enum_type()));
    }
    return WrongType(node, node.Mark(), field, Expected(field), suggestion);
  }

  absl::Status WrongType(const YAML::Node& node, const YAML::Mark& mark,
                         const FieldDescriptor& field, absl::string_view expected,
                         absl::string_view suggestion = "") const {
    std::string message =
        absl::StrCat(field.name(), ": expected ", expected, ", got ",
                     node.IsScalar() ? absl::StrCat("\"", node.Scalar(), "\"") : TypeName(node));
    if (!suggestion.empty()) absl::StrAppend(&message, "; did you mean \"", suggestion, "\"?");
    return Error(mark, message);
  }

  const std::string file_;
  const std::vector<std::string> lines_;
};

void EmitMessage(const Message& message, YAML::Emitter& out);

// Element `index` of a repeated field; of another, the field.
void EmitValue(const Message& message, const FieldDescriptor& field, int index,
               YAML::Emitter& out) {
  const Reflection& reflection = *message.GetReflection();
  const auto get = [&](auto repeated, auto single) {
    return field.is_repeated() ? (reflection.*repeated)(message, &field, index)
                               : (reflection.*single)(message, &field);
  };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      out << YAML::DoubleQuoted << get(&Reflection::GetRepeatedString, &Reflection::GetString);
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      out << get(&Reflection::GetRepeatedBool, &Reflection::GetBool);
      return;
    case FieldDescriptor::CPPTYPE_INT32:
      out << get(&Reflection::GetRepeatedInt32, &Reflection::GetInt32);
      return;
    case FieldDescriptor::CPPTYPE_INT64:
      out << get(&Reflection::GetRepeatedInt64, &Reflection::GetInt64);
      return;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      out << get(&Reflection::GetRepeatedDouble, &Reflection::GetDouble);
      return;
    case FieldDescriptor::CPPTYPE_ENUM:
      out << ShortName(*get(&Reflection::GetRepeatedEnum, &Reflection::GetEnum));
      return;
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const Message& value = field.is_repeated()
                                 ? reflection.GetRepeatedMessage(message, &field, index)
                                 : reflection.GetMessage(message, &field);
      if (IsDuration(field)) {
        out << DurationText(static_cast<const google::protobuf::Duration&>(value));
      } else {
        EmitMessage(value, out);
      }
      return;
    }
    default:
      out << YAML::Null;
  }
}

void EmitMessage(const Message& message, YAML::Emitter& out) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  out << YAML::BeginMap;
  for (const FieldDescriptor* field : fields) {
    out << YAML::Key << field->name() << YAML::Value;
    if (!field->is_repeated()) {
      EmitValue(message, *field, 0, out);
      continue;
    }
    out << YAML::BeginSeq;
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      EmitValue(message, *field, i, out);
    }
    out << YAML::EndSeq;
  }
  out << YAML::EndMap;
}

}  // namespace

absl::Status ParseConfig(absl::string_view yaml, const std::string& file, Message& message) {
  const Reader reader(yaml, file);
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    if (root.IsNull()) return absl::OkStatus();  // Empty, or comments only.
    return reader.ReadMessage(root, message);
  } catch (const YAML::Exception& e) {
    return reader.Error(e.mark, e.msg);
  }
}

absl::Status LoadConfigFile(const std::string& path, Message& message) {
  ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kFileBytesMax), _ << "configuration");
  return ParseConfig(yaml, path, message);
}

absl::Status AtItsField(const absl::Status& error, const std::string& path) {
  const std::string field(error.message().substr(0, error.message().find(':')));
  const absl::StatusOr<std::string> yaml = ReadFile(path, kFileBytesMax);
  if (error.ok() || !yaml.ok()) return error;
  try {
    YAML::Node node = YAML::Load(*yaml);
    for (const absl::string_view name : absl::StrSplit(field, '.')) {
      if (!node.IsMap()) return error;
      node.reset(node[std::string(name)]);
    }
    if (!node.IsDefined()) return error;
    return WithCode(error.code(), Reader(*yaml, path).Error(node.Mark(), error.message()));
  } catch (const YAML::Exception&) {
    return error;
  }
}

std::string ConfigToYaml(const Message& message) {
  YAML::Emitter out;
  EmitMessage(message, out);
  return std::string(out.c_str()) + "\n";
}

absl::Status AsConfigError(absl::Status status) {
  status.SetPayload(kConfigErrorPayload, absl::Cord());
  return status;
}

bool IsConfigError(const absl::Status& status) {
  return status.GetPayload(kConfigErrorPayload).has_value();
}

}  // namespace farm
