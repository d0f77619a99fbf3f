defmodule DSPex.Wire.Payload do
  @moduledoc """
  Members of an envelope's `params` or `result`, encoded ahead of the envelope.

  A caller encodes its payload in its own process, before it has a worker; the envelope around it (id, deadline) is made
  when the frame is sent, and costs next to nothing.
  """

  alias DSPex.Wire.Json
  alias DSPex.Wire.Limits
  alias DSPex.Wire.Msgpack

  @enforce_keys [:encoding, :count, :members, :parts]
  defstruct [:encoding, :count, :members, :parts]

  @type encoding :: :json | :msgpack
  @type t :: %__MODULE__{encoding: encoding, count: non_neg_integer, members: iodata, parts: [binary]}

  @doc """
  Encodes `{name, value}` pairs.

      iex> {:ok, payload} = DSPex.Wire.Payload.encode(:json, [{"value", [1]}])
      iex> IO.iodata_to_binary(payload.members)
      ~s("value":[1])
  """
  @spec encode(encoding, [{String.t(), term}], Limits.t()) :: {:ok, t} | {:error, DSPex.Error.t()}
  def encode(encoding, members, limits \\ %Limits{}) do
    with {:ok, data, parts} <- codec(encoding).encode_members(members, limits) do
      {:ok, %__MODULE__{encoding: encoding, count: length(members), members: data, parts: parts}}
    end
  end

  defp codec(:json), do: Json
  defp codec(:msgpack), do: Msgpack
end
