defmodule DSPex.Wire.MsgpackTest do
  use ExUnit.Case, async: true
  doctest DSPex.Wire.Msgpack
  doctest DSPex.Wire.Msgpack.Ext

  alias DSPex.Test.Vectors
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack
  alias DSPex.Wire.Msgpack.Ext

  Code.require_file("../../conformance/kinds/msgpack.exs", __DIR__)

  defp write(value, limits \\ %Limits{}) do
    {:ok, data, []} = Msgpack.encode(value, limits)
    IO.iodata_to_binary(data)
  end

  defp read(bytes, options \\ []), do: Msgpack.decode(bytes, struct!(Limits, options))
  defp reason({:error, error}), do: error.reason

  @tag req: "OWN-7"
  test "every form of the MessagePack suite is read, and each value is written in one of its forms" do
    suite = Vectors.ordered("suites/msgpack.json")
    results = for {id, check} <- DSPex.Conformance.Msgpack.checks(suite), do: {id, check.()}
    assert length(results) > 200
    assert Enum.reject(results, fn {_id, result} -> result == :ok end) == []
  end

  test "integers are written in the shortest form on both sides of each boundary" do
    for {number, size} <-
          [{127, 1}, {128, 2}, {255, 2}, {256, 3}, {65_535, 3}, {65_536, 5}, {0xFFFFFFFF, 5}] ++
            [{0x100000000, 9}, {-32, 1}, {-33, 2}, {-128, 2}, {-129, 3}, {-32_768, 3}, {-32_769, 5}] ++
            [{-0x80000000, 5}, {-0x80000001, 9}, {-0x8000000000000000, 9}] do
      assert byte_size(write(number)) == size, "#{number} takes #{byte_size(write(number))} bytes"
      assert read(write(number)) == {:ok, number}
    end
  end

  @tag req: "FR1.2.4"
  test "integers of any size come back, in the fewest bytes" do
    for bits <- [64, 71, 72, 79, 80, 200, 4000], number <- [2 ** bits, 2 ** bits - 1, -(2 ** bits), -(2 ** bits) - 1] do
      assert read(write(number)) == {:ok, number}
    end

    assert {:ok, %Ext{type: 1, data: data}} = Msgpack.decode_plain(write(2 ** 71 - 1))
    assert byte_size(data) == 9
    assert {:ok, %Ext{type: 1, data: data}} = Msgpack.decode_plain(write(-(2 ** 71)))
    assert byte_size(data) == 9
  end

  test "an integer of more than 65,536 bytes is refused" do
    assert {:error, error} = read(<<0xC9, 65_537::32, 1, 0::size(65_537)-unit(8)>>)
    assert {error.reason, error.details} == {:limit_exceeded, %{"limit" => "max_integer_bytes"}}
  end

  test "NaN and infinities are read from single and double floats" do
    assert read(<<0xCA, 0x7F800000::32>>) == {:ok, :infinity}
    assert read(<<0xCA, 0xFF800000::32>>) == {:ok, :neg_infinity}
    assert read(<<0xCA, 0x7FC00000::32>>) == {:ok, :nan}
    assert read(<<0xCB, 0xFFF8000000000001::64>>) == {:ok, :nan}
    assert read(<<0xCA, 0x3FC00000::32>>) == {:ok, 1.5}
  end

  test "minus zero stays minus zero and a whole float stays a float" do
    assert {:ok, zero} = read(write(-0.0))
    assert <<zero::float>> == <<0x80, 0::56>>
    assert {:ok, one} = read(write(1.0))
    assert is_float(one)
  end

  test "a plain map is written with its keys sorted by bytes, an ordered one in its order" do
    many = Map.new(1..100, &{"key #{&1}", &1})
    assert {:ok, ordered} = read(write(many), maps: :ordered)
    assert DSPex.Ordered.keys(ordered) == Enum.sort(Map.keys(many))

    assert write(%{"b" => 1, :a => 2, "B" => 3}) == <<0x83, 0xA1, ?B, 3, 0xA1, ?a, 2, 0xA1, ?b, 1>>
    assert write(DSPex.Ordered.new([{"b", 1}, {"a", 2}])) == <<0x82, 0xA1, ?b, 1, 0xA1, ?a, 2>>
  end

  test "decoding makes no atoms" do
    assert read(<<0x81, 0xA5, "hello", 0xA3, "nan">>) == {:ok, %{"hello" => "nan"}}
    body = write(Map.new(1..1000, &{"never seen as an atom #{&1}", "nor this #{&1}"}))
    assert {:ok, _value} = read(body)

    for n <- 1..1000, text <- ["never seen as an atom #{n}", "nor this #{n}"] do
      assert_raise ArgumentError, fn -> String.to_existing_atom(text) end
    end
  end

  test "a binary that is not UTF-8 is sent as bytes" do
    assert read(write(<<255, 0>>)) == {:ok, DSPex.Bytes.new(<<255, 0>>)}
  end

  test "text is accepted exactly when it is UTF-8" do
    for text <- [
          "",
          "a",
          "ü",
          "日本",
          "\u{10FFFF}",
          "\u{FFFE}",
          <<0xED, 0xA0, 0x80>>,
          <<0xC0, 0x80>>,
          <<0xF4, 0x90, 0x80, 0x80>>,
          "ab" <> <<0xC3>>
        ] do
      assert match?({:ok, ^text}, read(<<0xA0 + byte_size(text), text::binary>>)) == String.valid?(text), inspect(text)
    end
  end

  test "what cannot be sent is invalid input" do
    for term <-
          [self(), make_ref(), fn -> 1 end, [1 | 2], %{1 => 2}, %{"a" => 1, a: 2}, %{<<255>> => 1}, <<1::3>>] ++
            [DSPex.Ordered.new([{"a", 1}, {"a", 2}]), %DSPex.Tensor{dtype: "u8", shape: [3], data: "1"}] do
      assert reason(Msgpack.encode([term])) == :invalid_input, inspect(term)
    end
  end

  @tag req: "NFR2.2.2"
  test "what is no value of the model is a protocol error that says what is wrong" do
    for {bytes, problem} <- [
          {<<0x82, 0xA1, ?a, 1, 0xA1, ?a, 2>>, "twice"},
          {<<0x81, 1, 2>>, "key"},
          {<<0x81, 0xC4, 1, ?a, 2>>, "key"},
          {<<0xC1>>, "C1"},
          {<<1, 2>>, "follow"},
          {"", "ends after 0 bytes"},
          {<<0xD4, 9, 0>>, "ext type 9"},
          {<<0xD4, -2::8, 0>>, "ext type -2"},
          {<<0xC7, 0, 1>>, "ext type 1"},
          {<<0xD5, 2, 0x91, 0xC1>>, "C1"},
          {<<0xD5, 2, 0x92, 1>>, "not exactly one value"},
          {<<0xD5, 2, 0x90, 0x90>>, "not exactly one value"},
          {<<0xD4, 3, 0x80>>, "a set holds"},
          {<<0xD4, 7, 1>>, "Arrow"},
          {<<0xD6, 7, 0xD5, 2, 0x91, 1>>, "ext"},
          {<<0xD4, 6, 0x90>>, "tensor"},
          {<<0xD4, 8, 2>>, "attachment 2"},
          {<<0xD6, 8, 0xD5, 8, 0x91, 1>>, "ext"},
          {<<0xD7, -1::8, 0xFFFFFFFF::32, 0::32>>, "timestamp"},
          {<<0xC7, 12, -1::8, 0::32, 0x7FFFFFFFFFFFFFFF::64>>, "timestamp"}
        ] do
      assert {:error, error} = read(bytes)
      assert {error.reason, error.message =~ problem} == {:protocol_error, true}, inspect({bytes, error.message})
    end
  end

  test "a timestamp is read as a time in UTC, to the microsecond" do
    assert read(<<0xD7, -1::8, 678_901_234::30, 1_514_862_245::34>>) == {:ok, ~U[2018-01-02 03:04:05.678901Z]}
    assert read(<<0xD6, -1::8, 0::32>>) == {:ok, ~U[1970-01-01 00:00:00Z]}
  end

  test "64 levels are read and written, 65 are refused, whatever they are made of" do
    for nest <- [&[&1], &{&1}, &%{"a" => &1}, &MapSet.new([&1])] do
      deepest = Enum.reduce(1..64, 1, fn _level, value -> nest.(value) end)
      assert {:ok, data, []} = Msgpack.encode(deepest)
      assert Msgpack.decode(IO.iodata_to_binary(data)) == {:ok, deepest}

      assert reason(Msgpack.encode(nest.(deepest))) == :limit_exceeded
      {:ok, data, []} = Msgpack.encode(nest.(deepest), %Limits{depth: 65})
      assert data |> IO.iodata_to_binary() |> Msgpack.decode() |> reason() == :limit_exceeded
    end
  end

  test "a tensor below 63 levels of lists is no deeper than they are" do
    tensor = DSPex.Tensor.from_list("u8", [2], [1, 2])
    value = Enum.reduce(1..64, tensor, fn _level, value -> [value] end)
    assert read(write(value)) == {:ok, value}
  end

  test "collections above the limit are refused in both directions" do
    assert reason(Msgpack.encode([1, 2, 3], %Limits{items: 2})) == :limit_exceeded
    assert reason(Msgpack.encode(%{"a" => 1, "b" => 2}, %Limits{items: 1})) == :limit_exceeded
    assert read(<<0x92, 1, 2>>, items: 2) == {:ok, [1, 2]}
    assert reason(read(<<0x93, 1, 2, 3>>, items: 2)) == :limit_exceeded
    assert reason(read(<<0xDF, 1_000_001::32>>)) == :limit_exceeded
    assert reason(read(<<0xDD, 0xFFFFFFFF::32>>)) == :limit_exceeded
  end

  @tag req: "FR2.2.2"
  test "large bytes, tensors and tables leave as attachments and are read from them" do
    large = :binary.copy("x", 100)
    tensor = %DSPex.Tensor{dtype: "u8", shape: [100], data: large}
    value = %{"bytes" => DSPex.Bytes.new(large), "in" => [tensor, {DSPex.Table.new(large)}], "text" => large}
    limits = %Limits{attach: 99}

    assert {:ok, data, [^large, ^large, ^large] = parts} = Msgpack.encode(value, limits)
    assert IO.iodata_length(data) < 200
    assert Msgpack.decode(IO.iodata_to_binary(data), limits, parts) == {:ok, value}
    assert {:ok, _data, []} = Msgpack.encode(value, %Limits{attach: 100})
  end

  test "values that stand one after the other are all read, or none" do
    assert Msgpack.decode_all("") == {:ok, []}
    assert Msgpack.decode_all(<<1, 0xA1, ?a, 0x81, 0xA1, ?b, 0xC0>>) == {:ok, [1, "a", %{"b" => nil}]}
    assert reason(Msgpack.decode_all(<<1, 0xA2, ?a>>)) == :protocol_error
    assert reason(Msgpack.decode_all(<<1, 0xC1>>)) == :protocol_error
  end
end
