/* Text and JSON. Plain C11: the same in WASM and in native tests. */

#include "canopy.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH = 64 };

bool canopy_same(canopy_str a, canopy_str b) { return a.len == b.len && memcmp(a.at, b.at, a.len) == 0; }

bool canopy_is(canopy_str a, const char *text) { return canopy_same(a, (canopy_str){text, strlen(text)}); }

canopy_str canopy_start(canopy_str text, size_t most) {
  size_t end = 0;
  for (size_t seen = 0; end < text.len; end++) {
    /* Bytes 10xxxxxx go on with a character. */
    if (((unsigned char)text.at[end] & 0xC0) != 0x80 && seen++ == most) break;
  }
  return (canopy_str){text.at, end};
}

void *canopy_take(size_t count, size_t size) {
  void *at = calloc(count ? count : 1, size ? size : 1);
  if (!at) abort();
  return at;
}

void canopy_put(canopy_text *to, canopy_str text) {
  if (text.len > to->room - to->len) {
    size_t room = to->room ? to->room : 64;
    while (room - to->len < text.len) {
      if (room > SIZE_MAX / 2) abort();
      room *= 2;
    }
    char *at = realloc(to->at, room);
    if (!at) abort();
    to->at = at;
    to->room = room;
  }
  if (text.len) memcpy(to->at + to->len, text.at, text.len);
  to->len += text.len;
}

void canopy_put_int(canopy_text *to, int64_t number) {
  char digits[20];
  size_t from = sizeof digits;
  uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  do {
    digits[--from] = (char)('0' + left % 10);
    left /= 10;
  } while (left);
  if (number < 0) digits[--from] = '-';
  canopy_put(to, (canopy_str){digits + from, sizeof digits - from});
}

void canopy_put_json(canopy_text *to, canopy_str text) {
  static const char HEX[] = "0123456789abcdef";
  canopy_put(to, CANOPY_LIT("\""));
  for (size_t i = 0; i < text.len; i++) {
    unsigned char byte = (unsigned char)text.at[i];
    if (byte == '"' || byte == '\\') canopy_put(to, CANOPY_LIT("\\"));
    if (byte < 0x20) {
      char escape[6] = {'\\', 'u', '0', '0', HEX[byte >> 4], HEX[byte & 15]};
      canopy_put(to, (canopy_str){escape, sizeof escape});
    } else {
      canopy_put(to, (canopy_str){text.at + i, 1});
    }
  }
  canopy_put(to, CANOPY_LIT("\""));
}

canopy_str canopy_done(const canopy_text *text) { return (canopy_str){text->at, text->len}; }

/* What is left to read. */
typedef struct {
  const char *at, *end;
} reader;

static void blank(reader *in) {
  while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) in->at++;
}

static bool skip(reader *in, char wanted) {
  if (in->at == in->end || *in->at != wanted) return false;
  in->at++;
  return true;
}

static bool word(reader *in, const char *wanted) {
  for (; *wanted; wanted++) {
    if (!skip(in, *wanted)) return false;
  }
  return true;
}

static bool digits(reader *in) {
  const char *from = in->at;
  while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
  return in->at != from;
}

static bool hex4(reader *in, uint32_t *out) {
  *out = 0;
  for (int i = 0; i < 4; i++) {
    if (in->at == in->end) return false;
    char c = *in->at++;
    uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                            : 16;
    if (digit == 16) return false;
    *out = *out * 16 + digit;
  }
  return true;
}

static char *utf8(char *to, uint32_t point) {
  if (point < 0x80) {
    *to++ = (char)point;
  } else if (point < 0x800) {
    *to++ = (char)(0xC0 | point >> 6);
    *to++ = (char)(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    *to++ = (char)(0xE0 | point >> 12);
    *to++ = (char)(0x80 | (point >> 6 & 0x3F));
    *to++ = (char)(0x80 | (point & 0x3F));
  } else {
    *to++ = (char)(0xF0 | point >> 18);
    *to++ = (char)(0x80 | (point >> 12 & 0x3F));
    *to++ = (char)(0x80 | (point >> 6 & 0x3F));
    *to++ = (char)(0x80 | (point & 0x3F));
  }
  return to;
}

/* After the backslash. A character never takes more room than its escape did. */
static char *escape(reader *in, char *to) {
  static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
  if (in->at == in->end) return NULL;
  char c = *in->at++;
  for (size_t i = 0; i < sizeof FROM - 1; i++) {
    if (c == FROM[i]) {
      *to++ = TO[i];
      return to;
    }
  }
  uint32_t point, low;
  if (c != 'u' || !hex4(in, &point)) return NULL;
  if (point >= 0xD800 && point < 0xE000) {
    if (point >= 0xDC00 || !word(in, "\\u") || !hex4(in, &low) || low < 0xDC00 || low >= 0xE000) return NULL;
    point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
  }
  return utf8(to, point);
}

static bool string(reader *in, canopy_str *out) {
  if (!skip(in, '"')) return false;
  const char *from = in->at;
  while (in->at < in->end && *in->at != '"') in->at += *in->at == '\\' && in->at + 1 < in->end ? 2 : 1;
  if (in->at >= in->end) return false;
  reader inner = {from, in->at++};
  char *to = canopy_take((size_t)(inner.end - inner.at), 1);
  out->at = to;
  while (inner.at < inner.end) {
    char c = *inner.at++;
    if ((unsigned char)c < 0x20) return false;
    if (c != '\\') {
      *to++ = c;
    } else if (!(to = escape(&inner, to))) {
      return false;
    }
  }
  out->len = (size_t)(to - out->at);
  return true;
}

static bool number(reader *in, canopy_str *out) {
  out->at = in->at;
  (void)skip(in, '-');
  if (!skip(in, '0') && !digits(in)) return false;
  if (skip(in, '.') && !digits(in)) return false;
  if (skip(in, 'e') || skip(in, 'E')) {
    if (!skip(in, '+')) (void)skip(in, '-');
    if (!digits(in)) return false;
  }
  out->len = (size_t)(in->at - out->at);
  return true;
}

static bool value(reader *in, canopy_json *out, int depth);

/* The inside of an array or object, to its closing bracket. */
static bool inside(reader *in, canopy_json *out, char close, int depth) {
  canopy_json **last = &out->first;
  blank(in);
  if (skip(in, close)) return true;
  do {
    canopy_json *one = canopy_take(1, sizeof *one);
    blank(in);
    if (close == '}') {
      if (!string(in, &one->key)) return false;
      blank(in);
      if (!skip(in, ':')) return false;
    }
    if (!value(in, one, depth - 1)) return false;
    *last = one;
    last = &one->next;
    blank(in);
  } while (skip(in, ','));
  return skip(in, close);
}

static bool value(reader *in, canopy_json *out, int depth) {
  blank(in);
  if (in->at == in->end || depth == 0) return false;
  switch (*in->at) {
    case 'n': out->type = CANOPY_NULL; return word(in, "null");
    case 'f': out->type = CANOPY_FALSE; return word(in, "false");
    case 't': out->type = CANOPY_TRUE; return word(in, "true");
    case '"': out->type = CANOPY_STRING; return string(in, &out->text);
    case '[': out->type = CANOPY_ARRAY; return skip(in, '[') && inside(in, out, ']', depth);
    case '{': out->type = CANOPY_OBJECT; return skip(in, '{') && inside(in, out, '}', depth);
    default: out->type = CANOPY_NUMBER; return number(in, &out->text);
  }
}

canopy_json *canopy_parse(canopy_str text) {
  if (!text.len) return NULL;
  reader in = {text.at, text.at + text.len};
  canopy_json *out = canopy_take(1, sizeof *out);
  if (!value(&in, out, DEPTH)) return NULL;
  blank(&in);
  return in.at == in.end ? out : NULL;
}

const canopy_json *canopy_member(const canopy_json *of, const char *key) {
  const canopy_json *one = of && of->type == CANOPY_OBJECT ? of->first : NULL;
  while (one && !canopy_is(one->key, key)) one = one->next;
  return one;
}

bool canopy_string(const canopy_json *of, canopy_str *out) {
  if (!of || of->type != CANOPY_STRING) return false;
  *out = of->text;
  return true;
}

bool canopy_bool(const canopy_json *of, bool *out) {
  if (!of || (of->type != CANOPY_TRUE && of->type != CANOPY_FALSE)) return false;
  *out = of->type == CANOPY_TRUE;
  return true;
}

bool canopy_int(const canopy_json *of, int64_t *out) {
  if (!of || of->type != CANOPY_NUMBER) return false;
  bool negative = of->text.at[0] == '-';
  int64_t total = 0;
  for (size_t i = negative; i < of->text.len; i++) {
    int64_t digit = of->text.at[i] - '0';
    if (digit < 0 || digit > 9) return false;
    /* Downwards, where there is one more number. */
    if (__builtin_mul_overflow(total, 10, &total) || __builtin_sub_overflow(total, digit, &total)) return false;
  }
  if (!negative && total == INT64_MIN) return false;
  *out = negative ? total : -total;
  return true;
}

bool canopy_double(const canopy_json *of, double *out) {
  static const double TEN[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  if (!of || of->type != CANOPY_NUMBER) return false;
  reader in = {of->text.at, of->text.at + of->text.len};
  bool negative = skip(&in, '-'), fraction = false;
  uint64_t mantissa = 0;
  int64_t power = 0;
  for (; in.at < in.end && *in.at != 'e' && *in.at != 'E'; in.at++) {
    if (*in.at == '.') {
      fraction = true;
    } else if (mantissa < 100000000000000000) {
      mantissa = mantissa * 10 + (uint64_t)(*in.at - '0');
      power -= fraction;
    } else {
      /* Beyond the 17th digit only its place counts. */
      power += !fraction;
    }
  }
  if (in.at < in.end) {
    int64_t exponent = 0;
    in.at++;
    bool below = skip(&in, '-');
    (void)skip(&in, '+');
    for (; in.at < in.end && exponent < 10000; in.at++) exponent = exponent * 10 + (*in.at - '0');
    power += below ? -exponent : exponent;
  }
  double number = (double)mantissa;
  for (; power > 0 && mantissa; power -= power > 22 ? 22 : power) {
    number *= TEN[power > 22 ? 22 : power];
    if (number > 1.7976931348623157e308) return false;
  }
  for (; power < 0 && number > 0; power += power < -22 ? 22 : -power) number /= TEN[power < -22 ? 22 : -power];
  *out = negative ? -number : number;
  return true;
}
