defmodule DSPex.Wire.FrameTest do
  use ExUnit.Case, async: true
  doctest DSPex.Wire.Frame

  alias DSPex.Test.Vectors
  alias DSPex.Wire.Frame

  for {vector, index} <- Enum.with_index(Vectors.cases("frames.json")) do
    @vector vector
    @tag req: ["FR2.2.3", "OWN-7"]
    test "vector #{index}, whole, byte by byte and in random pieces: #{vector["name"]}" do
      bytes = Vectors.bytes(@vector["bytes"])
      :rand.seed(:exsss, {1, 2, unquote(index)})

      for pieces <- [[bytes], bytewise(bytes) | Enum.map(1..20, fn _round -> random_pieces(bytes) end)] do
        assert decode(pieces, @vector["cap"]) == @vector["events"]
      end
    end
  end

  test "a frame above the cap is never stored" do
    {[error: {:too_large, 1_000_000}], decoder} = Frame.decode(Frame.new(16), <<1_000_000::32, 0::size(8_000)>>)
    assert :erts_debug.flat_size(decoder) < 100
    {[], decoder} = Frame.decode(decoder, :binary.copy("x", 998_999))
    assert {[frame: "{}"], decoder} = Frame.decode(decoder, <<"x", 2::32, "{}">>)
    assert Frame.at_boundary?(decoder)
  end

  test "any bytes at all give events and never raise" do
    :rand.seed(:exsss, {7, 7, 7})

    for _round <- 1..500 do
      pieces = for _piece <- 1..:rand.uniform(5), do: :rand.bytes(:rand.uniform(40))
      {events, _decoder} = feed(pieces, 64)
      assert Enum.all?(events, &match?({kind, _what} when kind in [:frame, :error, :fatal], &1))
    end
  end

  test "what was encoded is decoded, however it is split" do
    :rand.seed(:exsss, {3, 2, 1})

    for _round <- 1..200 do
      bodies = for _body <- 1..:rand.uniform(6), do: :rand.bytes(:rand.uniform(50))
      bytes = bodies |> Enum.map(&Frame.encode/1) |> IO.iodata_to_binary()
      {events, decoder} = feed(random_pieces(bytes), 64)
      assert events == Enum.map(bodies, &{:frame, &1})
      assert Frame.at_boundary?(decoder)
    end
  end

  test "a stream that ends inside a frame is not at a boundary" do
    for bytes <- [<<0>>, <<0, 0, 0, 2>>, <<0, 0, 0, 2, ?{>>] do
      {[], decoder} = Frame.decode(Frame.new(), bytes)
      refute Frame.at_boundary?(decoder)
    end
  end

  defp feed(pieces, cap) do
    Enum.reduce(pieces, {[], Frame.new(cap)}, fn piece, {events, decoder} ->
      {new, decoder} = Frame.decode(decoder, piece)
      {events ++ new, decoder}
    end)
  end

  defp decode(pieces, cap) do
    {events, _decoder} = feed(pieces, cap)

    Enum.map(events, fn
      {:frame, body} -> %{"frame" => Base.encode16(body, case: :lower)}
      {:error, :empty} -> %{"error" => "protocol_error", "fatal" => false}
      {:error, {:too_large, _length}} -> %{"error" => "limit_exceeded", "fatal" => false}
      {:fatal, _length} -> %{"error" => "protocol_error", "fatal" => true}
    end)
  end

  defp bytewise(bytes), do: for(<<byte <- bytes>>, do: <<byte>>)

  defp random_pieces(""), do: []

  defp random_pieces(bytes) do
    size = :rand.uniform(byte_size(bytes))
    <<piece::binary-size(size), rest::binary>> = bytes
    [piece | random_pieces(rest)]
  end
end
