defmodule DSPex.Wire.ValuesTest do
  use ExUnit.Case, async: true

  alias DSPex.Test.Vectors
  alias DSPex.Wire.Json
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack

  @ordered %Limits{maps: :ordered}

  for {vector, index} <- Enum.with_index(Vectors.cases("values.json")) do
    @vector vector
    @tag req: ["FR1.2.4", "FR2.2.1", "OWN-7"]
    test "vector #{index} in JSON: #{vector["name"]}" do
      value = Vectors.value(@vector["value"])
      {:ok, json, []} = Json.encode(value)
      json = IO.iodata_to_binary(json)

      if @vector["json_any_form"],
        do: assert(Json.decode(json, @ordered) == {:ok, value}),
        else: assert(json in @vector["json"])

      for text <- @vector["json"] ++ Map.get(@vector, "json_reads", []) do
        {:ok, read} = Json.decode(text, @ordered)
        assert same?(read, value), "#{text} was read as #{inspect(read)}"
      end
    end

    @tag req: ["FR1.2.4", "FR2.2.2", "OWN-7"]
    test "vector #{index} in MessagePack: #{vector["name"]}" do
      value = Vectors.value(@vector["value"])
      {:ok, data, []} = Msgpack.encode(value)
      assert Base.encode16(IO.iodata_to_binary(data), case: :lower) in @vector["msgpack"]

      for hex <- @vector["msgpack"] ++ Map.get(@vector, "msgpack_reads", []) do
        {:ok, read} = hex |> Vectors.bytes() |> Msgpack.decode(@ordered)
        assert same?(read, value), "#{hex} was read as #{inspect(read)}"
      end
    end
  end

  for {vector, index} <- Enum.with_index(Vectors.cases("values.json", "invalid")) do
    @vector vector
    @tag req: "OWN-7"
    test "invalid vector #{index} is an error of its kind: #{vector["name"]}" do
      if text = @vector["json"] do
        for library <- Enum.filter(Json.libraries(), & &1.available?()) do
          assert {:error, error} = decode_with(library, text)
          assert Atom.to_string(error.reason) == @vector["error"], inspect({library, error})
        end
      end

      if hex = @vector["msgpack"] do
        assert {:error, error} = hex |> Vectors.bytes() |> Msgpack.decode()
        assert Atom.to_string(error.reason) == @vector["error"]
      end
    end
  end

  defp decode_with(library, text) do
    case library.decode(text) do
      {:ok, raw} -> Json.Reader.value(raw, @ordered, [])
      {:error, problem} -> {:error, DSPex.Error.new(:protocol_error, problem)}
    end
  end

  # Whole floats must not become integers, nor -0.0 become 0.0; datetimes are compared as instants with their offset.
  defp same?(%DateTime{} = a, %DateTime{} = b), do: DateTime.compare(a, b) == :eq and offset(a) == offset(b)
  defp same?(%NaiveDateTime{} = a, %NaiveDateTime{} = b), do: NaiveDateTime.compare(a, b) == :eq
  defp same?(a, b) when is_float(a) and is_float(b), do: <<a::float>> == <<b::float>>
  defp same?(a, b), do: a === b

  defp offset(time), do: time.utc_offset + time.std_offset
end
