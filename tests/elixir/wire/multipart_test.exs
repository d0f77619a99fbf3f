defmodule DSPex.Wire.MultipartTest do
  use ExUnit.Case, async: true
  doctest DSPex.Wire.Multipart

  alias DSPex.Test.Values
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack
  alias DSPex.Wire.Multipart

  defp join(envelope, parts), do: IO.iodata_to_binary(Multipart.encode(envelope, parts))

  @tag req: "FR2.2.2"
  test "parts come back in order, empty ones too" do
    for parts <- [[], [""], ["a", "", "bcd"], Enum.map(1..300, &:binary.copy("x", &1))] do
      assert Multipart.decode(join("{}", parts)) == {:ok, "{}", parts}
    end
  end

  test "parts point into the body, they are not copied" do
    large = :binary.copy("x", 1_000_000)
    body = join("{}", [large])
    assert {:ok, "{}", [part]} = Multipart.decode(body)
    assert :binary.referenced_byte_size(part) == byte_size(body)
  end

  test "lengths that do not add up to the body are malformed" do
    body = join("{}", ["abc", ""])
    for cut <- 0..(byte_size(body) - 1), do: assert(Multipart.decode(binary_part(body, 0, cut)) == :error)
    assert Multipart.decode(body <> "x") == :error
    assert Multipart.decode(<<1, 0::16>>) == :error
    assert Multipart.decode(<<1, 1::16, 0xFFFFFFFF::32, "{}">>) == :error
    assert Multipart.decode(<<2, 1::16, 2::32, "{}">>) == :error
  end

  test "any bytes are parts or malformed" do
    for seed <- 1..5000 do
      case Multipart.decode(<<1>> <> Values.bytes(seed, rem(seed, 40))) do
        {:ok, envelope, parts} -> assert Enum.all?([envelope | parts], &is_binary/1)
        :error -> :ok
      end
    end
  end

  test "a body has at most 65,535 parts: further attachments stay in the envelope" do
    value = List.duplicate(DSPex.Bytes.new("ab"), 65_540)
    limits = %Limits{attach: 1}
    {:ok, envelope, parts} = Msgpack.encode(value, limits)
    assert length(parts) == 65_534
    assert {:ok, envelope, parts} = Multipart.decode(join(envelope, parts))
    assert Msgpack.decode(envelope, limits, parts) == {:ok, value}
  end
end
