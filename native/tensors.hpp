// A request's tensors in the binary form of the Open Inference Protocol, to columns: numbers stay where they lie.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "columns.hpp"
#include "json_columns.hpp"

namespace larix::oip {

// What a request has besides its tensors. ``item``: the candidates' column that has to be there. ``most``: candidates.
// ``time``: the context's column that is ``now`` where it is not given; -1 is none.
struct Terms {
  int64_t item, most, time, now;
};

// ``inputs``: the JSON array that tells of tensors, ``data``: all of them, one behind the other. False where something is not
// plainly what it has to be: a tensor that is not binary, or of another type than its column, unknown, there twice or cut off.
bool read(std::string_view inputs, std::string_view data, const json::Reader& context, const json::Reader& candidates,
          const Terms& terms, Batch& own, Batch& theirs, int64_t* rows);

// As `read`, of a ModelInferRequest, whose raw contents are the tensors in the order of its inputs. False, too, if a tensor has
// contents of its own or parameters.
bool read_message(std::string_view message, const json::Reader& context, const json::Reader& candidates, const Terms& terms,
                  Batch& own, Batch& theirs, int64_t* rows);

// ``rest`` is a ModelInferRequest without inputs and raw contents. False if it is no message, or one of more than ``most`` fields.
bool rest_of(std::string_view message, int64_t most, std::string* rest);

}  // namespace larix::oip
