defmodule DSPex.Wire.Json.Jiffy do
  @moduledoc false
  @behaviour DSPex.Wire.Json.Library

  @impl true
  def available?, do: Code.ensure_loaded?(:jiffy)

  # `copy_strings` is left out: the strings point into the frame, which lives as long as the answer does. The smallest
  # float of all is the one number that jiffy reads wrongly (as 0.0).
  @impl true
  def decode(text) do
    case :binary.match(text, "e-324") do
      :nomatch -> {:ok, :jiffy.decode(text, [:use_nil])}
      _found -> DSPex.Wire.Json.Plain.decode(text)
    end
  catch
    _kind, {position, reason} -> {:error, "#{reason} at byte #{inspect(position)}"}
    _kind, _reason -> {:error, "not JSON"}
  end
end

defmodule DSPex.Wire.Json.Jason do
  @moduledoc false
  @behaviour DSPex.Wire.Json.Library

  @impl true
  def available?, do: Code.ensure_loaded?(Jason)

  @impl true
  def decode(text) do
    case Jason.decode(text, objects: :ordered_objects) do
      {:ok, term} -> {:ok, raw(term)}
      # It refuses numbers of more than 1,024 digits, unless it was compiled with another limit; the protocol has its own.
      {:error, _error} -> DSPex.Wire.Json.Plain.decode(text)
    end
  end

  # A struct of a library that may be missing can't be matched by its name at compile time.
  defp raw(%{__struct__: Jason.OrderedObject, values: pairs}),
    do: {Enum.map(pairs, fn {key, value} -> {key, raw(value)} end)}

  defp raw(list) when is_list(list), do: Enum.map(list, &raw/1)
  defp raw(scalar), do: scalar
end

defmodule DSPex.Wire.Json.Otp do
  @moduledoc false
  @behaviour DSPex.Wire.Json.Library

  @impl true
  def available?, do: Code.ensure_loaded?(:json)

  @impl true
  def decode(text) do
    case :json.decode(text, :ok, decoders()) do
      {raw, :ok, rest} -> if blank?(rest), do: {:ok, raw}, else: {:error, "bytes after the end"}
    end
  catch
    :error, reason -> {:error, "#{inspect(reason)}"}
  end

  @doc false
  def decoders, do: %{object_finish: fn pairs, outer -> {{Enum.reverse(pairs)}, outer} end, null: nil}

  # JSON's own white space: String.trim/1 knows more of it.
  @doc false
  def blank?(<<char, rest::binary>>) when char in ~c' \t\r\n', do: blank?(rest)
  def blank?(rest), do: rest == ""
end

defmodule DSPex.Wire.Json.Elixir do
  @moduledoc false
  @behaviour DSPex.Wire.Json.Library

  alias DSPex.Wire.Json.Otp

  @impl true
  def available?, do: Code.ensure_loaded?(JSON)

  @impl true
  def decode(text) do
    case JSON.decode(text, :ok, Enum.to_list(Otp.decoders())) do
      {raw, :ok, rest} -> if Otp.blank?(rest), do: {:ok, raw}, else: {:error, "bytes after the end"}
      {:error, reason} -> {:error, inspect(reason)}
    end
  end
end
