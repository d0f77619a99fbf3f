defmodule DSPex.Test.Values do
  @moduledoc false
  # Random values of the whole model from a seed, and a reader of values that runs with a bound on time and memory.

  @dtypes %{"u8" => 1, "u16" => 2, "s32" => 4, "s64" => 8, "f16" => 2, "bf16" => 2, "f32" => 4, "f64" => 8, "bool" => 1}

  @doc "The value of a seed, nested up to `depth` levels: as a decoder with `maps: :ordered` gives it."
  def value(seed, depth \\ 4) do
    :rand.seed(:exsss, seed)
    any(depth)
  end

  @doc "Random bytes of a seed, most of them with a sense in MessagePack."
  def bytes(seed, size) do
    :rand.seed(:exsss, seed)
    for _index <- 1..size//1, into: "", do: <<byte(:rand.uniform(4))>>
  end

  @doc "The bytes with one to three of them changed, taken out or doubled."
  def mutate(bytes, seed) do
    :rand.seed(:exsss, seed)
    Enum.reduce(1..:rand.uniform(3), bytes, fn _index, bytes -> change(bytes, :rand.uniform(3)) end)
  end

  @doc "Runs a function in a process that is killed above `megabytes` of heap, or after `milliseconds`."
  def bounded(function, megabytes \\ 256, milliseconds \\ 20_000) do
    words = div(megabytes * 1_048_576, 8)
    limit = %{size: words, kill: true, error_logger: false}
    caller = self()

    {pid, monitor} = :erlang.spawn_opt(fn -> send(caller, {self(), function.()}) end, [:monitor, max_heap_size: limit])

    receive do
      {^pid, result} ->
        Process.demonitor(monitor, [:flush])
        {:ok, result}

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        {:died, reason}
    after
      milliseconds ->
        Process.exit(pid, :kill)
        :too_slow
    end
  end

  defp any(0), do: scalar(:rand.uniform(14))

  defp any(depth),
    do: if(:rand.uniform(2) == 1, do: scalar(:rand.uniform(14)), else: nested(:rand.uniform(4), depth - 1))

  defp nested(1, depth), do: many(depth)
  defp nested(2, depth), do: depth |> many() |> List.to_tuple()
  defp nested(3, depth), do: depth |> many() |> MapSet.new()
  defp nested(4, depth), do: DSPex.Ordered.new(for key <- keys(), do: {key, any(depth)})

  defp many(depth), do: for(_index <- 1..size()//1, do: any(depth))
  defp size, do: if(:rand.uniform(20) == 1, do: 15 + :rand.uniform(3), else: :rand.uniform(5) - 1)
  defp keys, do: Enum.uniq(for _index <- 1..size()//1, do: if(:rand.uniform(6) == 1, do: "$type", else: text()))

  defp scalar(1), do: Enum.random([nil, true, false])
  defp scalar(2), do: Enum.random([:nan, :infinity, :neg_infinity])
  defp scalar(3), do: :rand.uniform(300) - 150
  defp scalar(4), do: sign() * (Integer.pow(2, Enum.random([7, 8, 15, 16, 31, 32, 63, 64, 128])) + :rand.uniform(3) - 2)
  defp scalar(5), do: sign() * :rand.uniform(Integer.pow(2, 200))
  defp scalar(6), do: Enum.random([0.0, -0.0, 1.0, 1.0e300, 5.0e-324, -1.5, sign() * :rand.uniform()])
  defp scalar(7), do: text()
  defp scalar(8), do: String.duplicate(text(), Enum.random([1, 10, 100]))
  defp scalar(9), do: DSPex.Bytes.new(:rand.bytes(Enum.random([0, 1, 2, 4, 8, 16, 17, 255, 256, 70_000])))
  defp scalar(10), do: Date.new!(:rand.uniform(9999), :rand.uniform(12), :rand.uniform(28))
  defp scalar(11), do: naive()
  defp scalar(12), do: zoned()
  defp scalar(13), do: DSPex.Table.new(:rand.bytes(:rand.uniform(40)))
  defp scalar(14), do: tensor()

  defp sign, do: Enum.random([1, -1])

  defp text do
    alphabet =
      Enum.random([~c"abcz09 _", [?a, ?", ?\\, ?\n, 0, 0x7F], [?ü, ?日, 0x1F600, 0xFFFF, 0x10FFFF], ~c"$type"])

    List.to_string(for _index <- 1..(:rand.uniform(12) - 1)//1, do: Enum.random(alphabet))
  end

  defp naive do
    date = Date.new!(:rand.uniform(9999), :rand.uniform(12), :rand.uniform(28))
    micro = Enum.random([{0, 0}, {:rand.uniform(999_999), 6}])
    NaiveDateTime.new!(date, Time.new!(:rand.uniform(24) - 1, :rand.uniform(60) - 1, :rand.uniform(60) - 1, micro))
  end

  defp zoned do
    offset = Enum.random(["+00:00", "+02:00", "-03:30", "+14:00", "-12:00"])
    {:ok, time} = DSPex.Wire.Values.datetime(NaiveDateTime.to_iso8601(naive()) <> offset)
    time
  end

  defp tensor do
    {dtype, size} = Enum.random(@dtypes)
    shape = for _index <- 1..(:rand.uniform(4) - 1)//1, do: :rand.uniform(4) - 1
    %DSPex.Tensor{dtype: dtype, shape: shape, data: :rand.bytes(Enum.product(shape) * size)}
  end

  defp byte(1), do: :rand.uniform(256) - 1
  defp byte(2), do: Enum.random(0x80..0xA4)
  defp byte(3), do: Enum.random(0xC0..0xDF)
  defp byte(4), do: :rand.uniform(9) - 1

  defp change("", _kind), do: <<0xC1>>

  defp change(bytes, kind) do
    at = :rand.uniform(byte_size(bytes)) - 1
    <<before::binary-size(at), byte, rest::binary>> = bytes

    case kind do
      1 -> <<before::binary, :rand.uniform(256) - 1, rest::binary>>
      2 -> before <> rest
      3 -> <<before::binary, byte, byte, rest::binary>>
    end
  end
end
