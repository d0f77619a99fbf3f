defmodule DSPex.Wire.JsonLimitsTest do
  use ExUnit.Case, async: true

  alias DSPex.Test.Values
  alias DSPex.Wire.Json

  @readers Enum.filter(Json.libraries(), & &1.available?())

  defp read(text), do: Values.bounded(fn -> Json.decode(text) end, 512)

  defp digits(count), do: String.duplicate("7", count)

  test "a number of 4,300 digits is read, bare and tagged" do
    number = String.to_integer(digits(4300))
    assert read(digits(4300)) == {:ok, {:ok, number}}
    assert read("[-#{digits(4300)}, 1]") == {:ok, {:ok, [-number, 1]}}
    assert read(~s({"$type":"int","value":"-#{digits(4300)}"})) == {:ok, {:ok, -number}}
  end

  test "a number of more digits is refused, wherever they stand, however many they are" do
    for count <- [4301, 10_000, 1_000_000],
        prefix <- ["", "[1,", ~S({"a\"b":), "0.", "1e", "-", String.duplicate(" ", 2149)] do
      assert {:ok, {:error, error}} = read(prefix <> digits(count))
      assert {prefix, count, error.reason} == {prefix, count, :limit_exceeded}
    end

    assert {:ok, {:error, error}} = read(~s({"$type":"int","value":"#{digits(1_000_000)}"}))
    assert {error.reason, error.details} == {:limit_exceeded, %{"limit" => "max_digits"}}
  end

  test "text of digits has no such limit" do
    assert read(~s(["\\"#{digits(100_000)}"])) == {:ok, {:ok, [~s(") <> digits(100_000)]}}
    assert read(~s([#{digits(19)},"#{digits(10_000)}",#{digits(20)}])) |> elem(1) |> elem(0) == :ok
  end

  test "hostile bodies end soon and in little memory" do
    for {name, body} <- [
          {"open arrays", String.duplicate("[", 1_000_000)},
          {"arrays", String.duplicate("[", 1_000_000) <> String.duplicate("]", 1_000_000)},
          {"open objects", String.duplicate(~s({"a":), 500_000)},
          {"a long list", "[" <> String.duplicate("1,", 1_500_000) <> "1]"},
          {"a key often", "{" <> String.duplicate(~s("a":1,), 300_000) <> ~s("a":1})},
          {"a huge shape",
           ~s({"$type":"tensor","dtype":"u8","shape":[#{String.duplicate("18446744073709551615,", 100_000)}1],"data":{"$type":"bytes","base64":""}})}
        ] do
      assert {:ok, {:error, error}} = read(body), name
      assert error.reason in [:protocol_error, :limit_exceeded], name
      assert byte_size(error.message) < 1000, name
    end
  end

  @tag req: "NFR2.2.1"
  test "any text gives a value or an error of the closed set, in every reader" do
    tokens =
      ~w({ } [ ] : , 1 -1 0.5 1e9 null true "a" "$type" "int" "value" "tuple" "items" "map" "entries" "bytes" "base64" "AA==" \\ e . ü) ++
        [" "]

    for seed <- 1..8000 do
      :rand.seed(:exsss, seed)
      text = for _index <- 1..:rand.uniform(25), into: "", do: Enum.random(tokens)

      for reader <- @readers do
        case reader.decode(text) do
          {:ok, raw} -> assert {seed, known?(Json.Reader.value(raw, %DSPex.Wire.Limits{}, []))} == {seed, true}
          {:error, problem} -> assert is_binary(problem)
        end
      end
    end
  end

  defp known?({:ok, _value}), do: true
  defp known?({:error, error}), do: error.reason in [:protocol_error, :limit_exceeded]
end
