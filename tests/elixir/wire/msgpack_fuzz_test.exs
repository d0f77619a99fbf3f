defmodule DSPex.Wire.MsgpackFuzzTest do
  # Values and bytes come from numbered seeds; a failure names its seed.
  use ExUnit.Case, async: true

  alias DSPex.Test.Values
  alias DSPex.Wire.Json
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack
  alias DSPex.Wire.Multipart

  @limits %Limits{maps: :ordered}

  defp write(value) do
    {:ok, data, []} = Msgpack.encode(value, %{@limits | attach: :infinity})
    IO.iodata_to_binary(data)
  end

  @tag req: ["FR1.2.4", "FR2.2.2"]
  test "every value comes back as it was, through MessagePack" do
    for seed <- 1..1500 do
      value = Values.value(seed)
      assert {seed, Msgpack.decode(write(value), @limits)} === {seed, {:ok, value}}
    end
  end

  @tag req: ["FR1.2.4", "FR2.2.2"]
  test "every value comes back as it was, through multipart bodies of both encodings" do
    for seed <- 2001..2300, codec <- [Msgpack, Json] do
      value = DSPex.Ordered.new([{"value", Values.value(seed)}])
      limits = %{@limits | attach: 100}
      {:ok, envelope, parts} = codec.encode(value, limits)
      body = parts |> then(&if(&1 == [], do: envelope, else: Multipart.encode(envelope, &1))) |> IO.iodata_to_binary()

      {:ok, envelope, parts} = if parts == [], do: {:ok, body, []}, else: Multipart.decode(body)

      assert {seed, codec, codec.decode(envelope, limits, parts)} === {seed, codec, {:ok, value}}
    end
  end

  test "every truncation of a value is a protocol error" do
    for seed <- 1..150, body = write(Values.value(seed, 2)), byte_size(body) < 2000, cut <- 0..(byte_size(body) - 1) do
      assert {:error, error} = Msgpack.decode(binary_part(body, 0, cut), @limits)
      assert {seed, cut, error.reason} == {seed, cut, :protocol_error}
    end
  end

  @tag req: "NFR2.2.1"
  test "any bytes give a value or an error of the closed set" do
    for seed <- 1..20_000 do
      bytes = Values.bytes(seed, rem(seed, 60))

      case Msgpack.decode(bytes, @limits) do
        {:ok, value} -> assert {:ok, _data, _parts} = Msgpack.encode(value)
        {:error, error} -> assert {seed, error.reason in [:protocol_error, :limit_exceeded]} == {seed, true}
      end
    end
  end

  test "a damaged value gives a value or an error of the closed set" do
    for seed <- 1..5000 do
      bytes = seed |> rem(300) |> Values.value(3) |> write() |> Values.mutate(seed)

      case Msgpack.decode(bytes, @limits) do
        {:ok, value} -> assert Msgpack.decode(write(value), @limits) === {:ok, value}, "seed #{seed}"
        {:error, error} -> assert {seed, error.reason in [:protocol_error, :limit_exceeded]} == {seed, true}
      end
    end
  end

  @tag timeout: 180_000
  test "hostile bodies end soon and in little memory" do
    megabyte = 1_048_576

    for {name, body} <- [
          {"arrays of a million items, none there", String.duplicate(<<0xDD, 1_000_000::32>>, 60)},
          {"nested arrays", String.duplicate(<<0x91>>, megabyte)},
          {"nested maps", String.duplicate(<<0x81, 0xA0>>, megabyte)},
          {"ext in ext", for(left <- div(megabyte, 6)..1, into: "", do: <<0xC9, left * 6 - 6::32, 2>>)},
          {"tables in tables", for(left <- div(megabyte, 6)..1, into: "", do: <<0xC9, left * 6 - 6::32, 7>>)},
          {"attachments in attachments", for(left <- div(megabyte, 6)..1, into: "", do: <<0xC9, left * 6 - 6::32, 8>>)},
          {"tuples in tuples", tuples(megabyte)},
          {"text of four gigabytes", <<0xDB, 0xFFFFFFFF::32, "abc">>},
          {"bytes of four gigabytes", <<0xC6, 0xFFFFFFFF::32, "abc">>},
          {"ext of four gigabytes", <<0xC9, 0xFFFFFFFF::32, 1, "abc">>},
          {"a map of four billion", <<0xDF, 0xFFFFFFFF::32, "abc">>},
          {"a million empty arrays, one missing", <<0xDD, 1_000_000::32, String.duplicate(<<0x90>>, 999_999)::binary>>},
          {"an integer of a megabyte", <<0xC9, megabyte::32, 1, 1::size(megabyte)-unit(8)>>},
          {"a tensor of a hundred thousand huge sides", tensor(100_000)},
          {"a map of one key a million times",
           <<0xDF, 500_000::32, String.duplicate(<<0xA1, ?a, 0>>, 500_000)::binary>>}
        ] do
      assert {:ok, {:error, error}} = Values.bounded(fn -> Msgpack.decode(body) end), name
      assert {name, error.reason in [:protocol_error, :limit_exceeded]} == {name, true}
      assert byte_size(error.message) < 1000, name
    end
  end

  test "values of a body may hold a million items" do
    body = <<0xDD, 1_000_000::32, String.duplicate(<<0xC0>>, 1_000_000)::binary>>
    assert {:ok, {:ok, items}} = Values.bounded(fn -> Msgpack.decode(body) end)
    assert length(items) == 1_000_000
  end

  defp tuples(size) do
    Enum.reduce_while(Stream.cycle([0]), <<0x90>>, fn _zero, inner ->
      outer = <<0xC9, byte_size(inner) + 1::32, 2, 0x91, inner::binary>>
      if byte_size(outer) > min(size, 5000), do: {:halt, outer}, else: {:cont, outer}
    end)
  end

  defp tensor(count) do
    shape = <<0xDD, count::32, String.duplicate(<<0xCF, 0xFFFFFFFFFFFFFFFF::64>>, count)::binary>>
    payload = <<0x93, 0xA2, "u8", shape::binary, 0xC4, 0>>
    <<0xC9, byte_size(payload)::32, 6, payload::binary>>
  end
end
