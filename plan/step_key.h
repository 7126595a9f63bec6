#ifndef FARM_PLAN_STEP_KEY_H_
#define FARM_PLAN_STEP_KEY_H_

#include <string>
#include <vector>

#include "base/digest.h"
#include "proto/farm/v1/record.pb.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// The key of a step, and the named parts that it was made of.
struct StepKey {
  Digest digest;                   // size 0: only the hash counts
  std::vector<v1::KeyPart> parts;  // in the order in which they were hashed
};

// H(version, operation, each part's name and digest). The parts are the identity's fields, in an
// encoding of our own (docs/formats/step-key.md), and `parent_chain_id`: the chainID of the root
// that the step starts from (zero for scratch and for operations without a root). A COPY's items
// must be resolved. Nothing of execution or inputs is read. Test vectors: plan/step_key_test.cc.
StepKey ComputeStepKey(const v1::StepIdentity& identity, const Digest& parent_chain_id);

// One sentence for each part that is new, changed or gone since `before`: "the command is another
// one: RUN make", "source src/ has other content". Empty if all parts are equal.
std::vector<std::string> ExplainKey(const std::vector<v1::KeyPart>& now,
                                    const std::vector<v1::KeyPart>& before);

}  // namespace farm

#endif  // FARM_PLAN_STEP_KEY_H_
