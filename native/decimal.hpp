// The fewest decimal digits that are read as a given double, by exact arithmetic where 128 bits hold it.
#pragma once

#include <bit>
#include <cstdint>

namespace larix {

// ``digits * 10 ** exponent``, without zeros at the end.
struct Decimal {
  uint64_t digits;
  int exponent;
};

// The shortest decimal within the half-way points to the neighbours of ``value``, of several the closest. False for what is
// not handled: values below 2**-17 or from 2**53 on, and powers of two, whose neighbours are not alike.
//
// The doubles that round to ``value`` are c * 2**q and half a unit either way. With 10**k the largest power of ten that is no
// larger than such a unit, one or two multiples of it lie there, and at most one of 10**(k + 1): that one has fewer digits.
inline bool shortest(double value, Decimal* found) {
  __extension__ typedef unsigned __int128 Wide;
  static constexpr uint64_t powers[] = {1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u,
                                        10000000000u, 100000000000u, 1000000000000u, 10000000000000u, 100000000000000u,
                                        1000000000000000u, 10000000000000000u, 100000000000000000u,
                                        1000000000000000000u, 10000000000000000000u};
  const auto bits = std::bit_cast<uint64_t>(value);
  const int q = static_cast<int>(bits >> 52 & 0x7ff) - 1075;
  const uint64_t fraction = bits & ((uint64_t{1} << 52) - 1), c = fraction | uint64_t{1} << 52;
  if (q < -69 || q > 0 || fraction == 0) return false;
  const int places = (-q * 1233 + 4095) >> 12;  // -k: 1233 / 4096 is log10(2) nearly enough
  // All in units of a quarter of 2**q * 10**k: 4c * 10**places takes 55 bits and at most 70.
  const Wide power = places > 19 ? Wide{powers[19]} * powers[places - 19] : Wide{powers[places]};
  const Wide exact = 4 * Wide{c} * power, half = 2 * power;
  const int unit = 2 - q;
  const bool even = c % 2 == 0;
  const auto within = [&](uint64_t number) {
    const Wide at = Wide{number} << unit, off = at > exact ? at - exact : exact - at;
    return even ? off <= half : off < half;
  };
  const auto below = static_cast<uint64_t>(exact >> unit);
  const uint64_t short_below = below - below % 10;
  uint64_t digits = 0;
  if (within(short_below)) {
    digits = short_below;
  } else if (within(short_below + 10)) {
    digits = short_below + 10;
  } else {
    const Wide off = exact - (Wide{below} << unit), middle = Wide{1} << (unit - 1);
    const bool up = !within(below) || (within(below + 1) && (off > middle || (off == middle && below % 2 != 0)));
    digits = below + up;
  }
  int exponent = -places;
  for (; digits % 10 == 0; ++exponent) digits /= 10;
  *found = {digits, exponent};
  return true;
}

}  // namespace larix
