defmodule DSPex.Native.JsonSchema.Assertions do
  @moduledoc """
  The keywords that look at one value alone: types, ranges, lengths, equality.

  Numbers compare as numbers (`1.0` is an integer and equals `1`), strings are measured in code points, and `multipleOf`
  works on exact decimals, so that `0.0075` is a multiple of `0.0001`.
  """

  alias DSPex.Native.JsonSchema.Format

  @doc "Checks one keyword; values of types that it does not speak of pass."
  @spec check(String.t(), term, term) :: :ok | {:error, String.t()}
  def check("type", types, value) when is_list(types) do
    verdict(Enum.any?(types, &type?(&1, value)), "is #{type_name(value)}, not one of #{Enum.join(types, ", ")}")
  end

  def check("type", type, value), do: verdict(type?(type, value), "is #{type_name(value)}, not #{type}")
  def check("enum", values, value), do: verdict(Enum.any?(values, &(&1 == value)), "is none of #{show(values)}")
  def check("const", constant, value), do: verdict(constant == value, "is not #{show(constant)}")

  def check("minimum", limit, value) when is_number(value) do
    verdict(value >= limit, "is #{value}, below the minimum #{limit}")
  end

  def check("maximum", limit, value) when is_number(value) do
    verdict(value <= limit, "is #{value}, above the maximum #{limit}")
  end

  def check("exclusiveMinimum", limit, value) when is_number(value) do
    verdict(value > limit, "is #{value}, and must be above #{limit}")
  end

  def check("exclusiveMaximum", limit, value) when is_number(value) do
    verdict(value < limit, "is #{value}, and must be below #{limit}")
  end

  def check("multipleOf", step, value) when is_number(value) do
    verdict(multiple?(value, step), "is #{value}, not a multiple of #{step}")
  end

  def check("minLength", limit, value) when is_binary(value) do
    count = code_points(value)
    verdict(count >= limit, "has #{count} characters, below the minimum #{trunc(limit)}")
  end

  def check("maxLength", limit, value) when is_binary(value) do
    count = code_points(value)
    verdict(count <= limit, "has #{count} characters, above the maximum #{trunc(limit)}")
  end

  def check("format", name, value) when is_binary(value) do
    verdict(Format.valid?(name, value), "is not of the format #{inspect(name)}")
  end

  def check("minItems", limit, value) when is_list(value) do
    verdict(length(value) >= limit, "has #{length(value)} items, below the minimum #{trunc(limit)}")
  end

  def check("maxItems", limit, value) when is_list(value) do
    verdict(length(value) <= limit, "has #{length(value)} items, above the maximum #{trunc(limit)}")
  end

  def check("uniqueItems", true, value) when is_list(value) do
    verdict(length(Enum.uniq_by(value, &normal/1)) == length(value), "has the same item twice")
  end

  def check("minProperties", limit, value) when is_map(value) do
    verdict(map_size(value) >= limit, "has #{map_size(value)} members, below the minimum #{trunc(limit)}")
  end

  def check("maxProperties", limit, value) when is_map(value) do
    verdict(map_size(value) <= limit, "has #{map_size(value)} members, above the maximum #{trunc(limit)}")
  end

  def check("required", names, value) when is_map(value) do
    case Enum.reject(names, &is_map_key(value, &1)) do
      [] -> :ok
      missing -> {:error, "lacks " <> Enum.map_join(missing, ", ", &inspect/1)}
    end
  end

  def check("dependentRequired", dependencies, value) when is_map(value) do
    missing =
      for {name, needed} <- dependencies,
          is_map_key(value, name),
          need <- needed,
          not is_map_key(value, need),
          do: {name, need}

    case missing do
      [] -> :ok
      [{name, need} | _rest] -> {:error, "has #{inspect(name)}, and then needs #{inspect(need)}"}
    end
  end

  def check(_keyword, _argument, _value), do: :ok

  defp type?("null", value), do: is_nil(value)
  defp type?("boolean", value), do: is_boolean(value)
  defp type?("integer", value), do: is_integer(value) or (is_float(value) and trunc(value) == value)
  defp type?("number", value), do: is_number(value)
  defp type?("string", value), do: is_binary(value)
  defp type?("array", value), do: is_list(value)
  defp type?("object", value), do: is_map(value) and not is_struct(value)
  defp type?(_unknown, _value), do: false

  defp type_name(nil), do: "null"
  defp type_name(value) when is_boolean(value), do: "a boolean"
  defp type_name(value) when is_integer(value), do: "an integer"
  defp type_name(value) when is_number(value), do: "a number"
  defp type_name(value) when is_binary(value), do: "a string"
  defp type_name(value) when is_list(value), do: "an array"
  defp type_name(value) when is_map(value), do: "an object"
  defp type_name(_value), do: "no JSON value"

  # Equal numbers of both kinds must fall together: 1 and 1.0 are one item, true and 1 are two.
  defp normal(value) when is_float(value), do: if(trunc(value) == value, do: trunc(value), else: value)
  defp normal(value) when is_list(value), do: Enum.map(value, &normal/1)
  defp normal(value) when is_map(value), do: Map.new(value, fn {key, member} -> {key, normal(member)} end)
  defp normal(value), do: value

  defp multiple?(value, step) when is_integer(value) and is_integer(step), do: rem(value, step) == 0

  defp multiple?(value, step) do
    {value, places} = decimal(value)
    {step, step_places} = decimal(step)
    shared = max(places, step_places)
    rem(value * Integer.pow(10, shared - places), step * Integer.pow(10, shared - step_places)) == 0
  end

  # A number as {digits, places}: digits * 10 ** -places. The shortest text of a float is what its author wrote.
  defp decimal(value) when is_integer(value), do: {value, 0}

  defp decimal(value) do
    [mantissa | exponent] = value |> Float.to_string() |> String.split("e")
    [whole, fraction] = String.split(mantissa, ".")
    places = byte_size(fraction) - exponent(exponent)
    digits = String.to_integer(whole <> fraction)
    if places < 0, do: {digits * Integer.pow(10, -places), 0}, else: {digits, places}
  end

  defp exponent([]), do: 0
  defp exponent([text]), do: String.to_integer(text)

  defp code_points(text), do: count(text, 0)
  defp count(<<_point::utf8, rest::binary>>, count), do: count(rest, count + 1)
  defp count(<<_byte, rest::binary>>, count), do: count(rest, count + 1)
  defp count(<<>>, count), do: count

  defp show(value), do: inspect(value, limit: 10, printable_limit: 200)

  defp verdict(true, _message), do: :ok
  defp verdict(false, message), do: {:error, message}
end
