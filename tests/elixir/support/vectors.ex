defmodule DSPex.Test.Vectors do
  @moduledoc false
  # The golden vectors that both languages run, and the values in them.

  @root Path.expand("../../vectors", __DIR__)

  def read(name), do: read_file(Path.join(@root, name))

  def cases(name, key \\ "cases"), do: Map.fetch!(read(name), key)

  def value(["null"]), do: nil
  def value(["bool", value]), do: value
  def value(["int", text]), do: String.to_integer(text)
  def value(["float", "nan"]), do: :nan
  def value(["float", "inf"]), do: :infinity
  def value(["float", "-inf"]), do: :neg_infinity
  def value(["float", text]), do: text |> Float.parse() |> elem(0)
  def value(["text", text]), do: text
  def value(["bytes", hex]), do: DSPex.Bytes.new(bytes(hex))
  def value(["list", items]), do: Enum.map(items, &value/1)
  def value(["tuple", items]), do: items |> Enum.map(&value/1) |> List.to_tuple()
  def value(["set", items]), do: MapSet.new(items, &value/1)
  def value(["map", pairs]), do: DSPex.Ordered.new(Enum.map(pairs, fn [key, value] -> {key, value(value)} end))
  def value(["datetime", text]), do: text |> DSPex.Wire.Values.datetime() |> elem(1)
  def value(["date", text]), do: Date.from_iso8601!(text)
  def value(["tensor", dtype, shape, hex]), do: %DSPex.Tensor{dtype: dtype, shape: shape, data: bytes(hex)}
  def value(["arrow", hex]), do: DSPex.Table.new(bytes(hex))

  def bytes(hex), do: hex |> String.replace("-", "") |> Base.decode16!(case: :mixed)

  # Read by the plain reader, so that no vector depends on the library under test.
  defp read_file(path), do: path |> raw() |> plain()

  @doc "A file with its objects as `DSPex.Ordered`."
  def ordered(name), do: @root |> Path.join(name) |> raw() |> ordered_value()

  defp raw(path) do
    {:ok, raw} = path |> File.read!() |> DSPex.Wire.Json.Plain.decode()
    raw
  end

  defp ordered_value({pairs}), do: DSPex.Ordered.new(for {key, value} <- pairs, do: {key, ordered_value(value)})
  defp ordered_value(list) when is_list(list), do: Enum.map(list, &ordered_value/1)
  defp ordered_value(scalar), do: scalar

  def plain({pairs}), do: Map.new(pairs, fn {key, value} -> {key, plain(value)} end)
  def plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  def plain(scalar), do: scalar
end
