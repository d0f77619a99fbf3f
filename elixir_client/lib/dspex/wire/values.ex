defmodule DSPex.Wire.Values do
  @moduledoc """
  The value model that both languages share (`proto/PROTOCOL.md`, section 3), apart from any encoding.

  What Elixir sends:

  | Elixir | value |
  |---|---|
  | `nil`, `true`, `false`, integers, floats, lists, UTF-8 binaries | themselves |
  | `:nan`, `:infinity`, `:neg_infinity` | floats |
  | any other atom | its text |
  | a map | map with its keys sorted by bytes; keys are text or atoms |
  | `DSPex.Ordered` | map in its own order |
  | tuple, `MapSet` | tuple, set |
  | `DSPex.Bytes`, a binary that is not UTF-8 | bytes |
  | `DateTime`, `NaiveDateTime`, `Date` | datetime, date |
  | `Time` | its ISO 8601 text |
  | `DSPex.Tensor`, `DSPex.Table` | tensor, Arrow table |
  | `Decimal` | its text |
  | any other struct | what its implementation of `DSPex.Value` gives, else a map of its fields |
  | functions, pids, references, ports | refused (`:invalid_input`) |

      iex> DSPex.Wire.Values.form({1, 2})
      {:tuple, [1, 2]}
      iex> DSPex.Wire.Values.form(~D[2026-01-02])
      {:date, "2026-01-02"}
      iex> DSPex.Wire.Values.form(%{b: 1, a: 2})
      {:map, [{"a", 2}, {"b", 1}]}
  """

  alias DSPex.Error
  alias DSPex.Wire.Attachment
  alias DSPex.Wire.Limits

  # The envelope is a part too.
  @parts 65_534

  @typedoc "What a term that no encoding has by itself is sent as."
  @type form ::
          {:text | :bytes | :datetime | :date | :arrow, binary | Attachment.t()}
          | {:tuple | :set, list}
          | {:map, [{String.t(), term}]}
          | {:float, :nan | :infinity | :neg_infinity}
          | {:tensor, String.t(), [non_neg_integer], binary | Attachment.t()}
          | {:attachment, pos_integer}
          | {:as, term}

  @doc """
  Runs a `writer` over a term. One that throws `:attach` has met bytes above `limits.attach` (`automatic` where that
  is `:auto`): these leave in parts of their own, and only such a term pays for a second walk.
  """
  @spec write(term, Limits.t(), pos_integer, (term, Limits.t() -> iodata)) ::
          {:ok, iodata, [binary]} | {:error, Error.t()}
  def write(term, %Limits{attach: :auto} = limits, automatic, writer),
    do: write(term, %{limits | attach: automatic}, automatic, writer)

  def write(term, limits, _automatic, writer) do
    {:ok, writer.(term, limits), []}
  catch
    :attach -> write_parts(term, limits, writer)
    {_reason, _message, _limit} = refused -> {:error, error(refused)}
  end

  defp write_parts(term, limits, writer) do
    {term, parts} = extract(term, limits.attach)
    {:ok, writer.(term, %{limits | attach: :infinity}), parts}
  catch
    {_reason, _message, _limit} = refused -> {:error, error(refused)}
  end

  # Byte strings, tensor data and tables above the threshold leave the term; references stand in their place.
  defp extract(term, threshold) do
    {term, {_count, parts}} = move(term, {0, []}, threshold)
    {term, Enum.reverse(parts)}
  end

  @doc "Tells what a term is sent as. Throws for what cannot be sent."
  @spec form(term) :: form
  def form(atom) when atom in [:nan, :infinity, :neg_infinity], do: {:float, atom}
  def form(atom) when is_atom(atom), do: {:text, Atom.to_string(atom)}
  def form(tuple) when is_tuple(tuple), do: {:tuple, Tuple.to_list(tuple)}
  def form(binary) when is_binary(binary), do: {:bytes, binary}
  def form(%DSPex.Ordered{pairs: pairs}), do: {:map, keys!(pairs)}
  def form(%DSPex.Bytes{data: data}), do: {:bytes, data}
  def form(%Attachment{part: part}), do: {:attachment, part}
  def form(%DSPex.Table{ipc: ipc}), do: {:arrow, ipc}
  def form(%MapSet{} = set), do: {:set, MapSet.to_list(set)}
  def form(%Date{} = date), do: {:date, Date.to_iso8601(date)}
  def form(%Time{} = time), do: {:text, Time.to_iso8601(time)}
  def form(%NaiveDateTime{} = time), do: {:datetime, NaiveDateTime.to_iso8601(time)}
  def form(%DateTime{} = time), do: {:datetime, NaiveDateTime.to_iso8601(DateTime.to_naive(time)) <> offset(time)}

  def form(%DSPex.Tensor{dtype: dtype, shape: shape, data: %Attachment{} = part}), do: {:tensor, dtype, shape, part}

  def form(%DSPex.Tensor{dtype: dtype, shape: shape, data: data}) do
    case DSPex.Tensor.new(dtype, shape, data) do
      {:ok, _tensor} -> {:tensor, dtype, shape, data}
      {:error, problem} -> throw({:invalid_input, problem, nil})
    end
  end

  def form(%module{} = struct) do
    if Atom.to_string(module) == "Elixir.Decimal",
      do: {:text, to_string(struct)},
      else: struct |> own_value() |> struct_form(module)
  end

  def form(%{} = map), do: {:map, map |> Map.to_list() |> keys!() |> List.keysort(0)}
  def form(other), do: throw({:invalid_input, "#{kind(other)} cannot be sent to Python", nil})

  @doc "Makes a datetime of ISO 8601 text: a `DateTime` that keeps its offset, or a `NaiveDateTime` without one."
  @spec datetime(String.t()) :: {:ok, DateTime.t() | NaiveDateTime.t()} | :error
  def datetime(text) when is_binary(text) do
    with %{"time" => time, "offset" => offset} <- Regex.named_captures(pattern(), text),
         {:ok, naive} <- NaiveDateTime.from_iso8601(time) do
      zoned(naive, offset)
    else
      _not_a_time -> :error
    end
  end

  def datetime(_other), do: :error

  @doc "Makes a date of ISO 8601 text."
  @spec date(term) :: {:ok, Date.t()} | :error
  def date(text) when is_binary(text) do
    with {:error, _reason} <- Date.from_iso8601(text), do: :error
  end

  def date(_other), do: :error

  @doc "Turns what an encoder or decoder threw into the error it stands for."
  @spec error({Error.reason(), String.t(), String.t() | nil}) :: Error.t()
  def error({reason, message, nil}), do: Error.new(reason, message)
  def error({reason, message, limit}), do: Error.new(reason, message, details: %{"limit" => limit})

  @doc "Pairs as decoded, with their keys checked for repetition, in the form that `limits.maps` asks for."
  @spec map!([{String.t(), term}], Limits.t()) :: map
  def map!(pairs, %Limits{maps: maps}) do
    map = :maps.from_list(pairs)
    if map_size(map) != length(pairs), do: throw({:protocol_error, "a map has the same key twice", nil})
    if maps == :ordered, do: %DSPex.Ordered{pairs: pairs}, else: map
  end

  @doc "A set of decoded items, none of which may stand there twice."
  @spec set!([term]) :: MapSet.t()
  def set!(items) do
    set = MapSet.new(items)
    if MapSet.size(set) == length(items), do: set, else: throw({:protocol_error, "a set has the same item twice", nil})
  end

  defp struct_form(%module{} = struct, module),
    do: {:map, struct |> Map.from_struct() |> Map.to_list() |> keys!() |> List.keysort(0)}

  defp struct_form(value, _module), do: {:as, value}

  defp own_value(struct) do
    DSPex.Value.to_value(struct)
  rescue
    error in [ArgumentError] -> throw({:invalid_input, Exception.message(error), nil})
  end

  defp keys!(pairs) do
    pairs = Enum.map(pairs, &text_key!/1)

    if length(pairs) > 1 and map_size(:maps.from_list(pairs)) != length(pairs),
      do: throw({:invalid_input, "a map has the same key twice (as text and as an atom, or repeated)", nil})

    pairs
  end

  defp text_key!({key, _value} = pair) when is_binary(key) do
    if String.valid?(key), do: pair, else: throw({:invalid_input, "the key of a map is not UTF-8 text", nil})
  end

  defp text_key!({key, value}) when is_atom(key), do: {Atom.to_string(key), value}
  defp text_key!({key, _value}), do: throw({:invalid_input, "the key of a map is #{kind(key)}; keys are text", nil})

  defp kind(term) when is_function(term), do: "a function"
  defp kind(term) when is_pid(term), do: "a pid"
  defp kind(term) when is_reference(term), do: "a reference"
  defp kind(term) when is_integer(term), do: "an integer"
  defp kind(term) when is_bitstring(term), do: "a bitstring"
  defp kind(_term), do: "a term of another kind"

  # A body counts its parts in 16 bits: when these are used up, the rest stays where it is.
  defp move(term, {@parts, _parts} = acc, _threshold), do: {term, acc}

  defp move(binary, acc, threshold) when is_binary(binary) do
    if byte_size(binary) > threshold and not String.valid?(binary), do: part(binary, acc), else: {binary, acc}
  end

  defp move(%DSPex.Bytes{data: data}, acc, threshold) when byte_size(data) > threshold, do: part(data, acc)

  defp move(%DSPex.Tensor{data: data} = tensor, acc, threshold)
       when is_binary(data) and byte_size(data) > threshold do
    _checked = form(tensor)
    {part, acc} = part(data, acc)
    {%{tensor | data: part}, acc}
  end

  defp move(%DSPex.Table{ipc: ipc} = table, acc, threshold) when byte_size(ipc) > threshold do
    {part, acc} = part(ipc, acc)
    {%{table | ipc: part}, acc}
  end

  defp move(list, acc, threshold) when is_list(list) and list != [] do
    if List.improper?(list),
      do: throw({:invalid_input, "an improper list cannot be sent to Python", nil}),
      else: Enum.map_reduce(list, acc, &move(&1, &2, threshold))
  end

  defp move(tuple, acc, threshold) when is_tuple(tuple) do
    {items, acc} = move(Tuple.to_list(tuple), acc, threshold)
    {List.to_tuple(items), acc}
  end

  defp move(%DSPex.Ordered{pairs: pairs}, acc, threshold), do: move_pairs(pairs, acc, threshold)

  defp move(%module{} = struct, acc, threshold) do
    case own_value(struct) do
      %^module{} -> {struct, acc}
      value -> move(value, acc, threshold)
    end
  end

  defp move(%{} = map, acc, threshold), do: map |> form() |> elem(1) |> move_pairs(acc, threshold)
  defp move(term, acc, _threshold), do: {term, acc}

  defp move_pairs(pairs, acc, threshold) do
    {pairs, acc} =
      Enum.map_reduce(pairs, acc, fn {key, value}, acc ->
        {value, acc} = move(value, acc, threshold)
        {{key, value}, acc}
      end)

    {%DSPex.Ordered{pairs: pairs}, acc}
  end

  defp part(data, {count, parts}), do: {%Attachment{part: count + 1}, {count + 1, [data | parts]}}

  defp pattern,
    do: ~r/\A(?<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?)(?<offset>Z|[+-]\d\d:\d\d|)\z/

  defp zoned(naive, ""), do: {:ok, naive}
  defp zoned(naive, "Z"), do: DateTime.from_naive(naive, "Etc/UTC")

  defp zoned(naive, <<sign, hours::binary-size(2), ?:, minutes::binary-size(2)>>) do
    amount = String.to_integer(hours) * 3600 + String.to_integer(minutes) * 60
    amount = if sign == ?-, do: -amount, else: amount
    {:ok, utc} = DateTime.from_naive(naive, "Etc/UTC")

    cond do
      abs(amount) >= 86_400 -> :error
      amount == 0 -> {:ok, utc}
      # Elixir has no zone for a bare offset: the struct says it itself, and compares and prints right.
      true -> {:ok, %{utc | utc_offset: amount, time_zone: offset(amount), zone_abbr: offset(amount)}}
    end
  end

  defp offset(%DateTime{utc_offset: utc, std_offset: std}), do: offset(utc + std)

  defp offset(amount) do
    sign = if amount < 0, do: "-", else: "+"
    minutes = div(abs(amount), 60)
    sign <> two(div(minutes, 60)) <> ":" <> two(rem(minutes, 60))
  end

  defp two(number), do: number |> Integer.to_string() |> String.pad_leading(2, "0")
end
