defmodule DSPex.Wire.Msgpack.StreamTest do
  use ExUnit.Case, async: true
  doctest DSPex.Wire.Msgpack.Stream

  alias DSPex.Test.Values
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack
  alias DSPex.Wire.Msgpack.Stream, as: Reader

  @limits %Limits{maps: :ordered, attach: :infinity}

  defp written(seeds) do
    values = for seed <- seeds, do: Values.value(seed, 3)
    {values, for(value <- values, into: "", do: value |> Msgpack.encode(@limits) |> elem(1) |> IO.iodata_to_binary())}
  end

  defp feed(stream, pieces) do
    Enum.reduce(pieces, {[], stream}, fn piece, {events, stream} ->
      {more, stream} = Reader.decode(stream, piece)
      {events ++ more, stream}
    end)
  end

  defp pieces("", _sizes), do: []

  defp pieces(bytes, [size | sizes]) do
    size = min(size, byte_size(bytes))
    <<piece::binary-size(size), rest::binary>> = bytes
    [piece | pieces(rest, sizes ++ [size])]
  end

  test "any split of the bytes gives the same values" do
    for first <- 1..20 do
      {values, bytes} = written(first..(first + 8))

      for sizes <- [[1], [2, 1, 3], [7], [64, 1], [1000], [byte_size(bytes)]], byte_size(bytes) / hd(sizes) < 20_000 do
        {events, stream} = feed(Reader.new(@limits), pieces(bytes, sizes))
        assert {first, sizes, events} === {first, sizes, Enum.map(values, &{:value, &1})}
        assert Reader.at_boundary?(stream)
      end
    end
  end

  test "a stream that ends inside of a value is not at a boundary" do
    {_values, bytes} = written(30..34)

    {_events, stream} = Reader.decode(Reader.new(@limits), binary_part(bytes, 0, byte_size(bytes) - 1))
    refute Reader.at_boundary?(stream)
  end

  test "an error ends the stream, after the values before it" do
    {events, stream} = Reader.decode(Reader.new(), <<1, 2, 0xC1, 3>>)
    assert [{:value, 1}, {:value, 2}, {:fatal, %DSPex.Error{reason: :protocol_error}}] = events
    assert {[], _stream} = Reader.decode(stream, <<4>>)
  end

  test "a value above the cap is refused when its length is read" do
    assert {[fatal: error], _stream} = Reader.decode(Reader.new(@limits, 1000), <<0xDB, 1001::32>>)
    assert error.reason == :limit_exceeded
    assert {[fatal: _error], _stream} = Reader.decode(Reader.new(), <<0xC6, 0xFFFFFFFF::32>>)
  end

  test "a value that grows above the cap by small items is refused" do
    item = <<0xA4, "text">>
    {events, _stream} = feed(Reader.new(@limits, 100), [<<0xDC, 1000::16>> | List.duplicate(item, 1000)])
    assert [{:fatal, %DSPex.Error{reason: :limit_exceeded}}] = events
  end

  test "a text of megabytes in small pieces is put together once" do
    text = :binary.copy("0123456789abcdef", 262_144)
    pieces = pieces(<<0xDB, byte_size(text)::32, text::binary>>, [1400])
    assert {:ok, {[value: ^text], _stream}} = Values.bounded(fn -> feed(Reader.new(), pieces) end)
  end
end
