defmodule DSPex.Native.Python do
  @moduledoc """
  Python's own text forms, which DSPy puts into prompts: `str`, `repr`, numbers, `json.dumps`, `strip`, `splitlines`.

  Values are terms: `nil`, booleans, numbers, `:nan`, `:infinity`, `:neg_infinity`, texts, lists, `{pairs}` for a dict in
  its order, and tagged tuples for what JSON lacks: `{:bytes, b}`, `{:tuple, list}`, `{:set, list}`, `{:datetime, text}`,
  `{:date, text}`, `{:time, text}`, `{:timedelta, text}`, `{:decimal, text}`, `{:uuid, text}`,
  `{:enum, name, member, value}`, `{:model, name, pairs}`, `{:dspy, name, pairs}`.
  """

  alias DSPex.Native.Python.Timedelta
  alias DSPex.Wire.Msgpack.Utf8
  alias DSPex.Wire.Values

  @type value :: term

  @doc """
  A value in these terms from what an Elixir caller has: what a worker would get, too. Plain maps get their keys sorted by
  bytes. Raises an `ArgumentError` for what cannot be sent to a worker.

      iex> DSPex.Native.Python.from_elixir(%{"b" => {1, 2}, a: MapSet.new([1])})
      {[{"a", {:set, [1]}}, {"b", {:tuple, [1, 2]}}]}
      iex> DSPex.Native.Python.from_elixir(<<255>>)
      {:bytes, <<255>>}
  """
  @spec from_elixir(term) :: value
  def from_elixir(text) when is_binary(text), do: if(Utf8.valid?(text), do: text, else: {:bytes, text})
  def from_elixir(value) when is_number(value) or value in [nil, true, false], do: value
  def from_elixir(value) when value in [:nan, :infinity, :neg_infinity], do: value
  def from_elixir(value) when is_atom(value), do: Atom.to_string(value)
  def from_elixir(list) when is_list(list), do: items(list)
  def from_elixir(%DSPex.Ordered{pairs: pairs}), do: dict(pairs)
  def from_elixir(%MapSet{} = set), do: {:set, set |> Enum.sort() |> Enum.map(&from_elixir/1)}
  def from_elixir(%DateTime{} = value), do: {:datetime, iso(value)}
  def from_elixir(%NaiveDateTime{} = value), do: {:datetime, iso(value)}
  def from_elixir(%Date{} = value), do: {:date, Date.to_iso8601(value)}
  def from_elixir(%Time{} = value), do: {:time, Time.to_iso8601(value)}
  def from_elixir(%{__struct__: DSPex.Bytes, data: data}), do: {:bytes, data}
  def from_elixir(%{__struct__: _module} = struct), do: struct |> form() |> from_form()
  def from_elixir(map) when is_map(map), do: map |> Enum.map(&key/1) |> Enum.sort() |> dict()
  def from_elixir({pairs}) when is_list(pairs), do: dict(pairs)

  def from_elixir({tag, _value} = tagged)
      when tag in [:bytes, :datetime, :date, :time, :timedelta, :decimal, :uuid, :tuple, :set],
      do: tagged

  def from_elixir({tag, _name, _pairs} = tagged) when tag in [:model, :dspy], do: tagged
  def from_elixir({:enum, _name, _member, _value} = tagged), do: tagged
  def from_elixir(tuple) when is_tuple(tuple), do: {:tuple, tuple |> Tuple.to_list() |> Enum.map(&from_elixir/1)}
  def from_elixir(other), do: form(other)

  defp items([item | rest]), do: [from_elixir(item) | items(rest)]
  defp items([]), do: []
  defp items(_tail), do: raise(ArgumentError, "an improper list cannot be sent to Python")

  # What the wire makes of a struct; of what it cannot send, the reason.
  defp form(term) do
    Values.form(term)
  catch
    {:invalid_input, message, _limit} -> raise ArgumentError, message
  end

  defp from_form({:text, text}), do: text
  defp from_form({:map, pairs}), do: dict(pairs)
  defp from_form({:as, value}), do: from_elixir(value)
  defp from_form(_table_or_tensor), do: raise(ArgumentError, "tables and tensors can only be given to Python")

  defp key({key, value}) when is_binary(key), do: {key, value}
  defp key({key, value}) when is_atom(key), do: {Atom.to_string(key), value}
  defp key({_key, _value}), do: raise(ArgumentError, "the keys of maps are texts")

  defp dict(pairs), do: {Enum.map(pairs, fn pair -> pair |> key() |> then(fn {k, v} -> {k, from_elixir(v)} end) end)}

  # Python writes UTC as +00:00, and no fraction of zero.
  defp iso(value) do
    text = if is_struct(value, DateTime), do: DateTime.to_iso8601(value), else: NaiveDateTime.to_iso8601(value)
    text |> String.replace(~r/\.0+(?=\z|[Z+-])/, "") |> String.replace(~r/Z\z/, "+00:00")
  end

  @doc """
  The same value in plain Elixir: dicts and models as maps, enums as their value, dates as structs, sets as `MapSet`.

      iex> DSPex.Native.Python.to_elixir({:model, "Event", [{"on", {:date, "2024-01-02"}}]})
      %{"on" => ~D[2024-01-02]}
  """
  @spec to_elixir(value) :: term
  def to_elixir({pairs}) when is_list(pairs), do: Map.new(pairs, fn {key, value} -> {key, to_elixir(value)} end)
  def to_elixir({tag, _name, pairs}) when tag in [:model, :dspy], do: to_elixir({pairs})
  def to_elixir({:enum, _name, _member, value}), do: value
  def to_elixir(list) when is_list(list), do: Enum.map(list, &to_elixir/1)
  def to_elixir({:tuple, items}), do: items |> Enum.map(&to_elixir/1) |> List.to_tuple()
  def to_elixir({:set, items}), do: MapSet.new(items, &to_elixir/1)
  def to_elixir({:bytes, bytes}), do: struct(DSPex.Bytes, data: bytes)
  def to_elixir({:date, text}), do: Date.from_iso8601!(text)
  def to_elixir({:time, text}), do: Time.from_iso8601!(text)

  def to_elixir({:datetime, text}) do
    case DateTime.from_iso8601(text) do
      {:ok, datetime, _offset} -> datetime
      {:error, _no_offset} -> NaiveDateTime.from_iso8601!(text)
    end
  end

  def to_elixir({tag, text}) when tag in [:decimal, :uuid, :timedelta], do: text
  def to_elixir(value), do: value

  @doc """
  Python's `==`: 1, 1.0 and True are equal.

      iex> {DSPex.Native.Python.equal?(true, 1.0), DSPex.Native.Python.equal?("1", 1)}
      {true, false}
  """
  @spec equal?(value, value) :: boolean
  def equal?(left, right), do: number(left) == number(right)

  defp number(true), do: 1
  defp number(false), do: 0
  defp number(value), do: value

  @doc "The name of a value's type."
  @spec type_name(value) :: String.t()
  def type_name(nil), do: "NoneType"
  def type_name(value) when is_boolean(value), do: "bool"
  def type_name(value) when is_integer(value), do: "int"
  def type_name(value) when is_float(value) or is_atom(value), do: "float"
  def type_name(value) when is_binary(value), do: "str"
  def type_name(value) when is_list(value), do: "list"
  def type_name({pairs}) when is_list(pairs), do: "dict"
  def type_name({tag, name, _rest}) when tag in [:model, :dspy], do: name
  def type_name({:enum, name, _member, _value}), do: name
  def type_name(value), do: value |> elem(0) |> Atom.to_string()

  @doc """
  Python's `str`.

      iex> Enum.map([nil, true, 3.0, 1.0e22, "a", ["a", {[{"k", nil}]}]], &DSPex.Native.Python.str/1)
      ["None", "True", "3.0", "1e+22", "a", "['a', {'k': None}]"]
  """
  @spec str(value) :: String.t()
  def str(text) when is_binary(text), do: text
  def str({tag, text}) when tag in [:decimal, :uuid, :date, :time], do: text
  def str({:datetime, text}), do: String.replace(text, "T", " ")
  def str({:enum, name, member, _value}), do: "#{name}.#{member}"
  def str({:timedelta, text}), do: Timedelta.str(text)
  def str(value), do: repr(value)

  @doc "Python's `repr`."
  @spec repr(value) :: String.t()
  def repr(nil), do: "None"
  def repr(true), do: "True"
  def repr(false), do: "False"
  def repr(value) when is_integer(value), do: Integer.to_string(value)
  def repr(value) when is_float(value), do: float_text(value)
  def repr(:nan), do: "nan"
  def repr(:infinity), do: "inf"
  def repr(:neg_infinity), do: "-inf"
  def repr(text) when is_binary(text), do: quote_text(text)
  def repr(list) when is_list(list), do: "[#{Enum.map_join(list, ", ", &repr/1)}]"

  def repr({pairs}) when is_list(pairs),
    do: "{#{Enum.map_join(pairs, ", ", fn {k, v} -> "#{repr(k)}: #{repr(v)}" end)}}"

  def repr({:bytes, bytes}), do: quote_bytes(bytes)
  def repr({:tuple, [item]}), do: "(#{repr(item)},)"
  def repr({:tuple, items}), do: "(#{Enum.map_join(items, ", ", &repr/1)})"
  def repr({:set, []}), do: "set()"
  def repr({:set, items}), do: "{#{Enum.map_join(items, ", ", &repr/1)}}"
  def repr({:decimal, text}), do: "Decimal('#{text}')"
  def repr({:uuid, text}), do: "UUID('#{text}')"
  def repr({:enum, name, member, value}), do: "<#{name}.#{member}: #{repr(value)}>"

  def repr({tag, name, pairs}) when tag in [:model, :dspy],
    do: "#{name}(#{Enum.map_join(pairs, ", ", fn {k, v} -> "#{k}=#{repr(v)}" end)})"

  def repr({:date, text}), do: "datetime.date(#{numbers(text)})"
  def repr({:time, text}), do: "datetime.time(#{clock(text)})"

  def repr({:datetime, <<date::binary-size(10), _separator, time::binary>>}),
    do: "datetime.datetime(#{numbers(date)}, #{clock(time)})"

  def repr({:timedelta, text}), do: Timedelta.repr(text)

  # 03:04:05.120000+02:00 as the arguments 3, 4, 5, 120000, tzinfo=…
  defp clock(text) do
    [_all, time | rest] = Regex.run(~r/\A([\d:]+)(?:\.(\d+))?(.*)\z/, text)
    micro = if hd(rest) == "", do: [], else: [rest |> hd() |> String.pad_trailing(6, "0") |> numbers()]
    # A second of zero is written only before a fraction.
    time = if micro == [], do: String.replace_suffix(time, ":00", "") |> String.pad_trailing(5, ":00"), else: time
    Enum.join([numbers(time) | micro] ++ zone(List.last(rest)), ", ")
  end

  defp numbers(text),
    do: text |> String.split(["-", ":"]) |> Enum.map_join(", ", &Integer.to_string(String.to_integer(&1)))

  defp zone(""), do: []
  defp zone("+00:00"), do: ["tzinfo=datetime.timezone.utc"]

  defp zone(<<sign, hours::binary-size(2), ":", minutes::binary-size(2), _rest::binary>>) do
    seconds = (String.to_integer(hours) * 60 + String.to_integer(minutes)) * 60
    delta = if sign == ?-, do: "days=-1, seconds=#{86_400 - seconds}", else: "seconds=#{seconds}"
    ["tzinfo=datetime.timezone(datetime.timedelta(#{delta}))"]
  end

  defp zone(_other), do: []

  @doc """
  A float as Python writes it.

      iex> Enum.map([0.1, 100.0, 1.0e16, 1.0e-5, -0.0], &DSPex.Native.Python.float_text/1)
      ["0.1", "100.0", "1e+16", "1e-05", "-0.0"]
  """
  @spec float_text(float) :: String.t()
  def float_text(value) do
    {sign, digits, exponent} = value |> :erlang.float_to_binary([:short]) |> decompose()
    sign <> layout(digits, exponent)
  end

  # The shortest digits and the place of their point: 0.d1d2… times 10^exponent.
  defp decompose(<<?-, text::binary>>), do: text |> decompose() |> put_elem(0, "-")

  defp decompose(text) do
    {mantissa, exponent} =
      case String.split(text, "e") do
        [mantissa, exponent] -> {mantissa, String.to_integer(exponent)}
        [mantissa] -> {mantissa, 0}
      end

    [whole, fraction] = String.split(mantissa, ".")
    digits = String.trim_leading(whole <> fraction, "0")
    zeros = byte_size(whole <> fraction) - byte_size(digits)
    {"", String.trim_trailing(digits, "0"), byte_size(whole) - zeros + exponent}
  end

  defp layout("", _exponent), do: "0.0"

  defp layout(<<first::binary-size(1), rest::binary>>, exponent) when exponent > 16 or exponent < -3 do
    power = exponent - 1
    sign = if power < 0, do: "-", else: "+"
    mantissa = if rest == "", do: first, else: "#{first}.#{rest}"
    "#{mantissa}e#{sign}#{power |> abs() |> Integer.to_string() |> String.pad_leading(2, "0")}"
  end

  defp layout(digits, exponent) when exponent <= 0, do: "0." <> String.duplicate("0", -exponent) <> digits

  defp layout(digits, exponent) when byte_size(digits) <= exponent,
    do: String.pad_trailing(digits, exponent, "0") <> ".0"

  defp layout(digits, exponent) do
    <<whole::binary-size(exponent), fraction::binary>> = digits
    "#{whole}.#{fraction}"
  end

  @doc """
  A float from Python's notation; too large ones are infinite.

      iex> {DSPex.Native.Python.float("1."), DSPex.Native.Python.float(".5e1"), DSPex.Native.Python.float("1e999")}
      {{:ok, 1.0}, {:ok, 5.0}, {:ok, :infinity}}
  """
  @spec float(String.t()) :: {:ok, float | :infinity | :neg_infinity} | :error
  def float(text) do
    if plain?(text, :start), do: {:ok, :erlang.binary_to_float(text)}, else: general(text)
  end

  # The common form needs no regular expression: digits, a point, digits; short enough to be finite.
  defp plain?(text, :start) when byte_size(text) > 300, do: false
  defp plain?(<<?-, char, rest::binary>>, :start) when char in ?0..?9, do: plain?(rest, :whole)
  defp plain?(<<char, rest::binary>>, :start) when char in ?0..?9, do: plain?(rest, :whole)
  defp plain?(<<char, rest::binary>>, :whole) when char in ?0..?9, do: plain?(rest, :whole)
  defp plain?(<<?., char, rest::binary>>, :whole) when char in ?0..?9, do: plain?(rest, :fraction)
  defp plain?(<<char, rest::binary>>, :fraction) when char in ?0..?9, do: plain?(rest, :fraction)
  defp plain?(rest, state), do: rest == "" and state == :fraction

  defp general(text) do
    case Regex.run(~r/\A([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?\z/, text) do
      [_all, sign, whole | rest] when whole != "" or (rest != [] and hd(rest) != "") -> make_float(sign, whole, rest)
      _other -> :error
    end
  end

  defp make_float(sign, whole, rest) do
    fraction = Enum.at(rest, 0, "")
    exponent = Enum.at(rest, 1, "0")
    text = "#{if whole == "", do: "0", else: whole}.#{if fraction == "", do: "0", else: fraction}e#{exponent}"
    negative? = sign == "-"

    case Float.parse(text) do
      {value, ""} -> {:ok, if(negative?, do: -value, else: value)}
      _other -> {:ok, if(negative?, do: :neg_infinity, else: :infinity)}
    end
  rescue
    ArgumentError -> {:ok, if(sign == "-", do: :neg_infinity, else: :infinity)}
  end

  defp quote_text(text) do
    quote = if String.contains?(text, "'") and not String.contains?(text, "\""), do: ?", else: ?'
    IO.iodata_to_binary([quote, for(<<char::utf8 <- text>>, do: escape(char, quote)), quote])
  end

  defp escape(char, char), do: [?\\, char]
  defp escape(?\\, _quote), do: "\\\\"
  defp escape(?\n, _quote), do: "\\n"
  defp escape(?\r, _quote), do: "\\r"
  defp escape(?\t, _quote), do: "\\t"
  defp escape(char, _quote) when char in 0x20..0x7E, do: char
  defp escape(char, _quote) when char < 0xA1, do: ["\\x", hex(char, 2)]
  defp escape(char, _quote), do: if(printable?(char), do: <<char::utf8>>, else: wide(char))

  defp wide(char) when char < 0x100, do: ["\\x", hex(char, 2)]
  defp wide(char) when char < 0x10000, do: ["\\u", hex(char, 4)]
  defp wide(char), do: ["\\U", hex(char, 8)]

  defp printable?(char), do: not Regex.match?(~r/[\p{C}\p{Z}]/u, <<char::utf8>>)

  defp hex(char, width), do: char |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(width, "0")

  defp quote_bytes(bytes) do
    quote = if String.contains?(bytes, "'") and not String.contains?(bytes, "\""), do: ?", else: ?'
    IO.iodata_to_binary([?b, quote, for(<<byte <- bytes>>, do: escape_byte(byte, quote)), quote])
  end

  defp escape_byte(byte, _quote) when byte > 0x7E, do: ["\\x", hex(byte, 2)]
  defp escape_byte(byte, quote), do: escape(byte, quote)

  # What Python's str.strip() and str.isspace() take for white space.
  @spaces [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0x85, 0xA0, 0x1680] ++
            Enum.to_list(0x2000..0x200A) ++ [0x2028, 0x2029, 0x202F, 0x205F, 0x3000]

  @doc "Whether Python takes the code point for white space."
  defguard is_space(char) when char in @spaces

  @doc "Python's `str.lstrip()`."
  @spec strip_leading(String.t()) :: String.t()
  def strip_leading(<<char::utf8, rest::binary>>) when is_space(char), do: strip_leading(rest)
  def strip_leading(text), do: text

  @doc "Python's `str.rstrip()`."
  @spec strip_trailing(String.t()) :: String.t()
  def strip_trailing(text), do: binary_part(text, 0, trailing(text, byte_size(text)))

  defp trailing(_text, 0), do: 0

  defp trailing(text, size) do
    case last(text, size) do
      {char, width} when is_space(char) -> trailing(text, size - width)
      _other -> size
    end
  end

  # The last code point of the first `size` bytes; white space has at most three bytes.
  defp last(text, size) do
    Enum.find_value(1..3, fn width ->
      if width <= size do
        case binary_part(text, size - width, width) do
          <<char::utf8>> -> {char, width}
          _part -> nil
        end
      end
    end)
  end

  @doc """
  Python's `str.strip()`.

      iex> DSPex.Native.Python.strip("\\u3000 a \\x1f\\n")
      "a"
  """
  @spec strip(String.t()) :: String.t()
  def strip(text), do: text |> strip_leading() |> strip_trailing()

  @doc """
  The decimal digits of other scripts as ASCII ones, as Python's numbers read them.

      iex> DSPex.Native.Python.ascii_digits("٣.１")
      "3.1"
  """
  @spec ascii_digits(String.t()) :: String.t()
  def ascii_digits(text) do
    if for(<<char <- text>>, char > 127, do: char) == [],
      do: text,
      else: Regex.replace(~r/\p{Nd}/u, text, fn <<code::utf8>> -> Integer.to_string(digit(code, 0)) end)
  end

  # Digits stand in runs of ten that begin with zero.
  defp digit(code, count) do
    if code > ?0 and Regex.match?(~r/\p{Nd}/u, <<code - 1::utf8>>), do: digit(code - 1, count + 1), else: rem(count, 10)
  end

  @doc """
  Equal values once, the first of them, as a Python set keeps them.

      iex> DSPex.Native.Python.unique([1, true, "1", 1.0, 2])
      [1, "1", 2]
  """
  @spec unique([value]) :: [value]
  def unique(values), do: Enum.uniq_by(values, &same/1)

  defp same(value) when is_boolean(value), do: number(value)
  defp same(value) when is_float(value), do: if(trunc(value) == value, do: trunc(value), else: value)
  defp same({:tuple, items}), do: {:tuple, Enum.map(items, &same/1)}
  defp same(value), do: value

  @doc """
  Whether a Python set or dict can hold the value as an item or key.

      iex> Enum.map(["a", {:tuple, [1, []]}, {[]}], &DSPex.Native.Python.hashable?/1)
      [true, false, false]
  """
  @spec hashable?(value) :: boolean
  def hashable?(value) when is_list(value), do: false
  def hashable?({pairs}) when is_list(pairs), do: false
  def hashable?({:tuple, items}), do: Enum.all?(items, &hashable?/1)
  def hashable?({kind, _name, _pairs}) when kind in [:model, :dspy], do: false
  def hashable?(_value), do: true

  @line_ends ["\r\n", "\n", "\r", "\v", "\f", <<0x1C>>, <<0x1D>>, <<0x1E>>, "\u0085", "\u2028", "\u2029"]

  @doc """
  Python's `str.splitlines()`.

      iex> DSPex.Native.Python.split_lines("a\\r\\nb\\u2028c\\n")
      ["a", "b", "c"]
  """
  @spec split_lines(String.t()) :: [String.t()]
  def split_lines(""), do: []

  def split_lines(text) do
    lines = :binary.split(text, line_ends(), [:global])
    if List.last(lines) == "", do: Enum.drop(lines, -1), else: lines
  end

  # Compiling the pattern costs more than splitting a short text.
  defp line_ends do
    case :persistent_term.get({__MODULE__, :line_ends}, nil) do
      nil ->
        pattern = :binary.compile_pattern(@line_ends)
        :persistent_term.put({__MODULE__, :line_ends}, pattern)
        pattern

      pattern ->
        pattern
    end
  end
end
